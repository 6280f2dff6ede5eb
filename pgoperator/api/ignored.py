"""Fields of a PerconaPGCluster that are accepted but have no effect yet.

The resource accepts every field of Percona's operator. `IGNORED` lists fields that are not implemented; they
are documented in the reference, and the condition `FieldsIgnored` names those that a cluster sets. Fields
about objects that do not exist here (`WITHOUT_OBJECT`) are only documented, because no user waits for them.
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
"""API paths; `[]` matches each item of a list, and a path includes all fields below it."""

_NO_INIT = "No container prepares files: scripts come from a ConfigMap."
_OWN = "A restore in place is of the cluster's own backups: one of another's is not begun."
WITHOUT_OBJECT: dict[str, str] = {
    "spec.backups.pgbackrest.initContainer": _NO_INIT,
    "spec.backups.pgbackrest.manual.initialDelaySeconds": "A backup waits until the archive is ready.",
    "spec.backups.pgbackrest.repoHost.sshConfigMap": "Deprecated: nothing speaks SSH.",
    "spec.backups.pgbackrest.repoHost.sshSecret": "Deprecated: nothing speaks SSH.",
    "spec.backups.pgbackrest.restore.clusterName": _OWN,
    "spec.backups.pgbackrest.restore.clusterNamespace": _OWN,
    "spec.backups.pgbackrest.sidecars": "Deprecated form of `containers`, for a crVersion below 2.4.",
    "spec.initContainer": _NO_INIT,
    "spec.instances[].containers": "No container copies certificates: each reads its own.",
    "spec.instances[].initContainer": _NO_INIT,
    "spec.pmm.runtimeClassName": "A RuntimeClass is of a whole pod, and the client is one container.",
    "spec.proxy.pgBouncer.containers": "No container waits for changed files: the one with pgBouncer does.",
}
"""Paths about objects that do not exist with this operator -> reason for the reference."""


def ignored_fields(manifest: Manifest) -> list[str]:
    """Return the paths of the ignored fields that a PerconaPGCluster sets; InvalidSpec as in `parse`."""
    cluster = PGCluster.parse(manifest)
    return [path for pattern in IGNORED for path in _set_paths(cluster, pattern.split("."), "")]


def _set_paths(model: Any, steps: list[str], path: str) -> Iterator[str]:
    """Yield the paths in the model that match a pattern and have a value."""
    step, *rest = steps
    name = step.removesuffix("[]")
    field, value = _field(model, name)
    here = f"{path}.{name}".removeprefix(".")
    if not _is_set(value, model, field):
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
    """Return attribute name and value of a field by its API name; KeyError if it does not exist."""
    for attribute, info in type(model).model_fields.items():
        if (info.alias or attribute) == name:
            return attribute, getattr(model, attribute)
    raise KeyError(f"{type(model).__name__} has no field {name}")


def _is_set(value: Any, model: BaseModel, field: str) -> bool:
    """Return whether a value is neither absent, empty, disabled nor equal to the default."""
    if value in (None, False, "", (), {}):
        return False
    if isinstance(value, BaseModel) and getattr(value, "enabled", None) is False:
        return False
    default: Any = type(model).model_fields[field].get_default(call_default_factory=True, validated_data={})
    return bool(value != default)
