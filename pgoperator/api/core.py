"""Types of Kubernetes itself inside our resources: plain manifests in Python, full schemas in the CRD.

The schemas are in `core_types.json`, which only the generator of the CRDs reads.
"""

from typing import Annotated, Any

from pgoperator.api.base import Schema

CORE_TYPE = "x-core-type"
"""Keyword by which a field names the Kubernetes type that it holds."""

PREFIX = "io.k8s.api.core.v1."
"""How the OpenAPI document of Kubernetes starts the names of these types."""

ROOTS: list[str] = []
"""Short names of the types that are in use, for the import of their schemas."""


def core(name: str) -> Schema:
    """Mark a manifest as a Kubernetes type, for the generator of the CRDs."""
    ROOTS.append(name)
    return Schema({CORE_TYPE: PREFIX + name})


Affinity = Annotated[dict[str, Any], core("Affinity")]
Container = Annotated[dict[str, Any], core("Container")]
EnvFromSource = Annotated[dict[str, Any], core("EnvFromSource")]
EnvVar = Annotated[dict[str, Any], core("EnvVar")]
PersistentVolumeClaimSpec = Annotated[dict[str, Any], core("PersistentVolumeClaimSpec")]
PodSecurityContext = Annotated[dict[str, Any], core("PodSecurityContext")]
Probe = Annotated[dict[str, Any], core("Probe")]
PullSecret = Annotated[dict[str, Any], core("LocalObjectReference")]
ResourceRequirements = Annotated[dict[str, Any], core("ResourceRequirements")]
SecurityContext = Annotated[dict[str, Any], core("SecurityContext")]
Toleration = Annotated[dict[str, Any], core("Toleration")]
TopologySpreadConstraint = Annotated[dict[str, Any], core("TopologySpreadConstraint")]
Volume = Annotated[dict[str, Any], core("Volume")]
VolumeMount = Annotated[dict[str, Any], core("VolumeMount")]
VolumeProjection = Annotated[dict[str, Any], core("VolumeProjection")]
VolumeSource = Annotated[dict[str, Any], core("VolumeSource")]
