"""Fields that a cluster may set although the operator does not act on them yet.

The resource accepts everything that the original accepts. What is accepted and not acted on is said: here,
in the reference pages, and in the condition `FieldsIgnored` of a cluster that sets such a field. What is
about something that does not exist here is in the reference pages only: nobody waits for it.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from pgoperator.api.base import Manifest
from pgoperator.api.cluster import PGCluster

IGNORED: tuple[str, ...] = (
    "spec.backups.volumeSnapshots",
    "spec.extensions.custom",
    "spec.extensions.image",
    "spec.extensions.imagePullPolicy",
    "spec.extensions.pg_tde",
    "spec.extensions.storage",
    "spec.logcollector",
    "spec.logicalReplicas",
    "spec.standby",
    "spec.tls.issuerConf",
)
"""Paths as in the API; `[]` stands for each item of a list, and a path covers all that is below it."""

_NO_INIT = "No container prepares files: scripts come from a ConfigMap."
_AS_JOBS = "The Job of a restore has the settings in `jobs`."
_OWN = "A restore in place is of the cluster's own backups: one of another's is not begun."
WITHOUT_OBJECT: dict[str, str] = {
    "spec.backups.pgbackrest.initContainer": _NO_INIT,
    "spec.backups.pgbackrest.manual.initialDelaySeconds": "A backup waits until the archive is ready.",
    "spec.backups.pgbackrest.repoHost.sshConfigMap": "Deprecated: nothing speaks SSH.",
    "spec.backups.pgbackrest.repoHost.sshSecret": "Deprecated: nothing speaks SSH.",
    "spec.backups.pgbackrest.restore.affinity": _AS_JOBS,
    "spec.backups.pgbackrest.restore.clusterName": _OWN,
    "spec.backups.pgbackrest.restore.clusterNamespace": _OWN,
    "spec.backups.pgbackrest.restore.priorityClassName": _AS_JOBS,
    "spec.backups.pgbackrest.restore.resources": _AS_JOBS,
    "spec.backups.pgbackrest.restore.tolerations": _AS_JOBS,
    "spec.backups.pgbackrest.sidecars": "Deprecated form of `containers`, for a crVersion below 2.4.",
    "spec.initContainer": _NO_INIT,
    "spec.instances[].containers": "No container copies certificates: each reads its own.",
    "spec.instances[].initContainer": _NO_INIT,
    "spec.pmm.runtimeClassName": "A RuntimeClass is of a whole pod, and the client is one container.",
    "spec.proxy.pgBouncer.containers": "No container waits for changed files: the one with pgBouncer does.",
}
"""Paths that lack nothing: the object that they are about does not exist here, and why."""


def ignored_fields(manifest: Manifest) -> list[str]:
    """Name the fields that a PerconaPGCluster sets and the operator does not act on."""
    cluster = PGCluster.parse(manifest)
    return [path for pattern in IGNORED for path in _set_paths(cluster, pattern.split("."), "")]


def _set_paths(model: Any, steps: list[str], path: str) -> Iterator[str]:
    """Follow the steps of a pattern through the model, and give the paths that end at a set value."""
    step, *rest = steps
    name = step.removesuffix("[]")
    field, value = _field(model, name)
    here = f"{path}.{name}".removeprefix(".")
    if not _says_something(value, model, field):
        return
    if not rest:
        yield here
        return
    parts = (
        [(f"{here}[{i}]", item) for i, item in enumerate(value)] if step.endswith("[]") else [(here, value)]
    )
    for below, part in parts:
        yield from _set_paths(part, rest, below)


def _field(model: BaseModel, name: str) -> tuple[str, Any]:
    """Find a field of a model by its name in the API."""
    for attribute, info in type(model).model_fields.items():
        if (info.alias or attribute) == name:
            return attribute, getattr(model, attribute)
    raise KeyError(f"{type(model).__name__} has no field {name}")


def _says_something(value: Any, model: BaseModel, field: str) -> bool:
    """Whether a value differs from what holds anyway: absent, empty, off, or the default."""
    if value in (None, False, "", (), {}):
        return False
    if isinstance(value, BaseModel) and getattr(value, "enabled", None) is False:
        return False
    default: Any = type(model).model_fields[field].get_default(call_default_factory=True, validated_data={})
    return bool(value != default)
