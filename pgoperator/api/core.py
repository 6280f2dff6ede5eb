"""Embedded Kubernetes types: plain manifests in Python, full schemas in the CRD.

The schemas are in `core_types.json`; only the CRD generator reads them.
"""

from typing import Annotated, Any

from pgoperator.api.base import Schema

CORE_TYPE = "x-core-type"
"""Schema keyword with the Kubernetes type of a field."""

PREFIX = "io.k8s.api.core.v1."
"""Prefix of these types in the OpenAPI document of Kubernetes."""

ROOTS: list[str] = []
"""Short names of the types in use; `import_core_types` imports their schemas."""


def core(name: str) -> Schema:
    """Mark a manifest field as a Kubernetes type, for the CRD generator."""
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
