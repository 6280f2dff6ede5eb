"""Volumes of an instance besides that of its data: for the write-ahead log and for tablespaces. Pure.

A log that is on a volume of its own leaves it in two steps. Once the custom resource does not ask for the
volume any more, the instance starts with the volume, but without being told to use it, and moves the log
back (`wal.sh`); only a start after that is without the volume. What pods show tells how far that is.
"""

from enum import Enum

from pgoperator import labels, naming
from pgoperator.api.instances import InstanceSet
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster import pods
from reconcilers.pgcluster.view import Observed, Planned, View

WAL_VOLUME = "postgres-wal"
WAL_VARIABLE = "WAL_DIRECTORY"


class Wal(Enum):
    """What becomes of an instance's volume for the log."""

    NONE = "none"
    USED = "used"
    LEFT = "left"
    """The volume is mounted, and the log leaves it when the instance starts."""


def wal(observed: Observed, instance: str, instance_set: InstanceSet) -> Wal:
    """Whether the instance shall have its log on a volume of its own."""
    if instance_set.wal_volume_claim_spec is not None:
        return Wal.USED
    found = next((one for one in observed.instances if one.name == instance), None)
    template = (found.stateful_set or {}).get("spec", {}).get("template", {}) if found else {}
    if not template:
        # Nothing says where the log is: if it is not there, looking costs nothing.
        return Wal.LEFT if naming.wal_volume(instance) in observed.wal_volumes else Wal.NONE
    if not _mounts(template):
        return Wal.NONE
    pod = found.pod if found else None
    back = pod is not None and not _is_told(pod) and found is not None and found.is_ready
    return Wal.NONE if back else Wal.LEFT


def _mounts(pod: Manifest) -> bool:
    volumes = pod.get("spec", {}).get("volumes", [])
    return any(volume["name"] == WAL_VOLUME for volume in volumes)


def _is_told(pod: Manifest) -> bool:
    """Whether the pod's database keeps its log on the volume."""
    containers = pod.get("spec", {}).get("containers", [])
    return any(
        variable["name"] == WAL_VARIABLE
        for container in containers
        if container["name"] == naming.DATABASE_CONTAINER
        for variable in container.get("env", [])
    )


def claims(view: View, planned: Planned, instance_set: InstanceSet) -> list[Manifest]:
    """The claims of an instance besides that of its data."""
    found = []
    if instance_set.wal_volume_claim_spec is not None:
        own = {labels.ROLE: labels.ROLE_PGWAL, labels.DATA: labels.DATA_POSTGRES}
        name, spec = naming.wal_volume(planned.name), instance_set.wal_volume_claim_spec
        found.append(claim(view, planned, instance_set, name=name, own=own, spec=spec))
    for one in instance_set.tablespace_volumes:
        own = {labels.ROLE: labels.ROLE_TABLESPACE, labels.DATA: one.name}
        name, spec = naming.tablespace_volume(planned.name, one.name), one.data_volume_claim_spec
        found.append(claim(view, planned, instance_set, name=name, own=own, spec=spec))
    return found


def claim(
    view: View,
    planned: Planned,
    instance_set: InstanceSet,
    *,
    name: str,
    own: dict[str, str],
    spec: Manifest,
) -> Manifest:
    """A claim of an instance."""
    own = labels.instance(view.name, planned.set_name, planned.name) | own
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": view.metadata(name, own, instance_set.metadata, component="pg"),
        "spec": pods.claim(spec),
    }


def mounts(observed: Observed, instance: str, instance_set: InstanceSet) -> list[Manifest]:
    """Where a container has them."""
    found: list[Manifest] = []
    if wal(observed, instance, instance_set) is not Wal.NONE:
        found.append({"name": WAL_VOLUME, "mountPath": naming.WAL_PATH})
    return found + [
        {"name": _tablespace(one.name), "mountPath": f"{naming.TABLESPACES_PATH}/{one.name}"}
        for one in instance_set.tablespace_volumes
    ]


def volumes(observed: Observed, instance: str, instance_set: InstanceSet) -> list[Manifest]:
    """The volumes of a pod, for `mounts`."""
    names = {}
    if wal(observed, instance, instance_set) is not Wal.NONE:
        names[WAL_VOLUME] = naming.wal_volume(instance)
    for one in instance_set.tablespace_volumes:
        names[_tablespace(one.name)] = naming.tablespace_volume(instance, one.name)
    return [{"name": n, "persistentVolumeClaim": {"claimName": claim}} for n, claim in names.items()]


def environment(observed: Observed, instance: str, instance_set: InstanceSet, major: int) -> dict[str, str]:
    """What tells the scripts to use a volume for the log."""
    used = wal(observed, instance, instance_set) is Wal.USED
    return {WAL_VARIABLE: naming.wal_directory(major)} if used else {}


def _tablespace(name: str) -> str:
    return f"tablespace-{name}"
