"""Small parts that several components of a cluster have in common."""

from typing import Annotated, Literal

from pydantic import Field

from pgoperator import limits
from pgoperator.api import core
from pgoperator.api.base import ATOMIC, ApiModel, Int32, StringMap


class Metadata(ApiModel):
    """Labels and annotations that are added to the objects of a component."""

    annotations: StringMap = Field(default_factory=dict, description="Annotations to add.")
    labels: StringMap = Field(default_factory=dict, description="Labels to add.")


class Described(ApiModel):
    """A component whose objects take extra labels and annotations."""

    metadata: Metadata = Field(default_factory=Metadata, description="Labels and annotations.")


class Environment(ApiModel):
    """Variables for a component's containers."""

    env: tuple[core.EnvVar, ...] = Field(default_factory=tuple, description="Variables.")
    env_from: tuple[core.EnvFromSource, ...] = Field(
        default_factory=tuple, description="Sources of variables."
    )


class Placement(ApiModel):
    """Where the scheduler may put a component's pods."""

    affinity: core.Affinity | None = Field(default=None, description="Rules for scheduling.")
    tolerations: tuple[core.Toleration, ...] = Field(
        default_factory=tuple, description="Taints that the pods tolerate."
    )
    priority_class_name: str | None = Field(default=None, description="PriorityClass.")


class Workload(Placement):
    """Placement and size of pods that run all the time."""

    topology_spread_constraints: tuple[core.TopologySpreadConstraint, ...] = Field(
        default_factory=tuple, description="Spread over zones and nodes."
    )
    resources: core.ResourceRequirements | None = Field(
        default=None, description="CPU and memory for the main container."
    )
    security_context: core.PodSecurityContext | None = Field(
        default=None, description="Security settings of the pods."
    )


class SidecarClaim(ApiModel):
    """A volume claim for the use of sidecars."""

    name: str = Field(description="Name of the claim, and of the volume in the pod.")
    spec: core.PersistentVolumeClaimSpec = Field(description="Specification of the claim.")


class Sidecars(ApiModel):
    """Containers of the user beside those of the operator."""

    sidecars: tuple[core.Container, ...] = Field(
        default_factory=tuple,
        max_length=limits.CONTAINERS,
        description="Additional containers.",
    )
    sidecar_volumes: tuple[core.Volume, ...] = Field(
        default_factory=tuple, max_length=limits.VOLUMES, description="Volumes that the sidecars mount."
    )
    sidecar_pvcs: tuple[SidecarClaim, ...] = Field(
        default_factory=tuple,
        max_length=limits.VOLUMES,
        alias="sidecarPVCs",
        description="Volume claims to create for the sidecars.",
    )


class InitContainer(ApiModel):
    """The container that prepares files before the main containers start."""

    image: str = Field(description="Image of the container.")
    resources: core.ResourceRequirements | None = Field(default=None, description="CPU and memory for it.")
    container_security_context: core.SecurityContext | None = Field(
        default=None, description="Security settings."
    )


class ContainerResources(ApiModel):
    """Settings of one helper container."""

    resources: core.ResourceRequirements | None = Field(default=None, description="CPU and memory.")


class Expose(ApiModel):
    """How a Service is reached from outside."""

    annotations: StringMap = Field(default_factory=dict, description="Annotations of the Service.")
    labels: StringMap = Field(default_factory=dict, description="Labels of the Service.")
    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = Field(
        default="ClusterIP", description="Kind of Service."
    )
    node_port: Int32 | None = Field(default=None, description="Port on every node.")
    load_balancer_class: str | None = Field(default=None, description="Implementation of the load balancer.")
    load_balancer_source_ranges: tuple[str, ...] = Field(
        default_factory=tuple, description="Allowed address ranges."
    )


class KeyToPath(ApiModel):
    """One key of a Secret or ConfigMap and the file it becomes."""

    key: str = Field(description="Key to project.")
    path: str = Field(description="Path in the mount.")
    mode: Int32 | None = Field(default=None, description="Permission bits of the file.")


class Projection(ApiModel):
    """Keys of a Secret or ConfigMap under the file names that the operator expects."""

    name: str = Field(default="", description="Name of the object.")
    items: Annotated[tuple[KeyToPath, ...], ATOMIC] = Field(
        default_factory=tuple, description="Keys and file names."
    )
    optional: bool | None = Field(default=None, description="Whether it may be missing.")


class ObjectReference(ApiModel):
    """An object of the same namespace, by name."""

    name: str = Field(default="", description="Name of the object.")


class KeyReference(ApiModel):
    """One key of a Secret or ConfigMap of the same namespace."""

    name: str = Field(description="Name of the object.")
    key: str = Field(description="Key in the object.")
