"""Additional volumes of an instance: for WAL and for tablespaces. Pure.

WAL leaves its own volume in two steps. When the custom resource no longer specifies the volume, the instance
restarts with the volume mounted but without `WAL_DIRECTORY`, and `wal.sh` moves WAL back to the data volume.
The next template has no WAL volume. The spec of the pod shows which step is done.
"""

from enum import Enum

from pgoperator import labels, naming
from pgoperator.api.instances import InstanceSet
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.pods import build_pod
from reconcilers.pgcluster.state.view import Observed, Planned, View

WAL_VOLUME = "postgres-wal"
WAL_VARIABLE = "WAL_DIRECTORY"


class Wal(Enum):
    """How an instance uses its WAL volume."""

    NONE = "none"
    USED = "used"
    LEFT = "left"
    """The volume is mounted, and WAL moves to the data volume when the instance starts."""


def wal(observed: Observed, instance: str, instance_set: InstanceSet) -> Wal:
    """Whether the instance should have its WAL on its own volume."""
    if instance_set.wal_volume_claim_spec is not None:
        return Wal.USED
    present = next((i for i in observed.instances if i.name == instance), None)
    template = (present.stateful_set or {}).get("spec", {}).get("template", {}) if present else {}
    if not template:
        # Nothing shows where WAL is. A mounted volume that holds no WAL does no harm.
        return Wal.LEFT if naming.wal_volume(instance) in observed.wal_volumes else Wal.NONE
    if not _mounts(template):
        return Wal.NONE
    pod = present.pod if present else None
    moved = pod is not None and not _uses_volume(pod) and present is not None and present.is_ready
    return Wal.NONE if moved else Wal.LEFT


def _mounts(pod: Manifest) -> bool:
    volumes = pod.get("spec", {}).get("volumes", [])
    return any(volume["name"] == WAL_VOLUME for volume in volumes)


def _uses_volume(pod: Manifest) -> bool:
    """Whether the pod's database keeps WAL on the WAL volume."""
    containers = pod.get("spec", {}).get("containers", [])
    return any(
        variable["name"] == WAL_VARIABLE
        for container in containers
        if container["name"] == naming.DATABASE_CONTAINER
        for variable in container.get("env", [])
    )


def claims(view: View, planned: Planned, instance_set: InstanceSet) -> list[Manifest]:
    """The claims of an instance, without that of its data volume."""
    result = []
    if instance_set.wal_volume_claim_spec is not None:
        own = {labels.ROLE: labels.ROLE_PGWAL, labels.DATA: labels.DATA_POSTGRES}
        name, spec = naming.wal_volume(planned.name), instance_set.wal_volume_claim_spec
        result.append(claim(view, planned, instance_set, name=name, own=own, spec=spec))
    for tablespace in instance_set.tablespace_volumes:
        own = {labels.ROLE: labels.ROLE_TABLESPACE, labels.DATA: tablespace.name}
        name = naming.tablespace_volume(planned.name, tablespace.name)
        spec = tablespace.data_volume_claim_spec
        result.append(claim(view, planned, instance_set, name=name, own=own, spec=spec))
    return result


def claim(
    view: View,
    planned: Planned,
    instance_set: InstanceSet,
    *,
    name: str,
    own: dict[str, str],
    spec: Manifest,
) -> Manifest:
    """A claim of an instance; `own` are the labels that distinguish it from the other claims."""
    own = labels.instance(view.name, planned.set_name, planned.name) | own
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": view.metadata(name, own, instance_set.metadata, component="", versioned=True),
        "spec": build_pod.claim(spec),
    }


def mounts(observed: Observed, instance: str, instance_set: InstanceSet) -> list[Manifest]:
    """The mounts of WAL and tablespace volumes in a container."""
    result: list[Manifest] = []
    if wal(observed, instance, instance_set) is not Wal.NONE:
        result.append({"name": WAL_VOLUME, "mountPath": naming.WAL_PATH})
    return result + [
        {"name": _tablespace(volume.name), "mountPath": f"{naming.TABLESPACES_PATH}/{volume.name}"}
        for volume in instance_set.tablespace_volumes
    ]


def volumes(observed: Observed, instance: str, instance_set: InstanceSet) -> list[Manifest]:
    """The volumes of a pod that belong to `mounts`."""
    names = {}
    if wal(observed, instance, instance_set) is not Wal.NONE:
        names[WAL_VOLUME] = naming.wal_volume(instance)
    for volume in instance_set.tablespace_volumes:
        names[_tablespace(volume.name)] = naming.tablespace_volume(instance, volume.name)
    return [{"name": n, "persistentVolumeClaim": {"claimName": claim}} for n, claim in names.items()]


def environment(observed: Observed, instance: str, instance_set: InstanceSet, major: int) -> dict[str, str]:
    """The variable that makes the scripts keep WAL on its own volume; `major` is PostgreSQL's."""
    used = wal(observed, instance, instance_set) is Wal.USED
    return {WAL_VARIABLE: naming.wal_directory(major)} if used else {}


def _tablespace(name: str) -> str:
    return f"tablespace-{name}"
