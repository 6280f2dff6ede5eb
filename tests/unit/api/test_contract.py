"""Our schemas keep the contract of the custom resources, path by path."""

import re
from functools import cache
from typing import Any

import pytest

from pgoperator.api import KINDS
from pgoperator.api.crd import schema
from tests.support.samples import sample
from tests.unit.api import contract

ROWS = contract.read()
Schema = dict[str, Any]
TYPES = {"array (core type)": "array", "object (core type)": "object", "object (free form)": "object"}

LIMITS = {
    "default",
    "enum",
    "format",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "pattern",
}

CLUSTER, INSTANCES = "PerconaPGCluster.spec", "PerconaPGCluster.spec.instances[]"
WITH_SIDECARS = (INSTANCES, f"{CLUSTER}.proxy.pgBouncer", f"{CLUSTER}.backups.pgbackrest.repoHost")
WITH_OPTIONS = (
    "PerconaPGBackup.spec",
    "PerconaPGRestore.spec",
    *(f"{CLUSTER}.backups.pgbackrest.{name}" for name in ("manual", "restore")),
    *(f"{CLUSTER}.dataSource.{name}" for name in ("postgresCluster", "pgbackrest")),
)
# Far beyond real use: without them, one object could take the time and memory of all.
MAXIMA = {
    f"{CLUSTER}.instances": {"maxItems": 20},
    f"{INSTANCES}.replicas": {"maximum": 100},
    f"{CLUSTER}.proxy.pgBouncer.replicas": {"maximum": 100},
    f"{CLUSTER}.users": {"maxItems": 1000},
    f"{CLUSTER}.users[].databases": {"maxItems": 200},
    f"{CLUSTER}.authentication.rules": {"maxItems": 500},
    f"{CLUSTER}.extensions.custom": {"maxItems": 100},
    f"{INSTANCES}.initContainers": {"maxItems": 20},
    **{f"{INSTANCES}.{name}": {"maxItems": 50} for name in ("extraVolumes", "tablespaceVolumes")},
    **{f"{part}.sidecars": {"maxItems": 20} for part in WITH_SIDECARS},
    **{
        f"{part}.{name}": {"maxItems": 50}
        for part in WITH_SIDECARS
        for name in ("sidecarPVCs", "sidecarVolumes")
    },
    **{f"{part}.options": {"maxItems": 100} for part in WITH_OPTIONS},
    **{
        f"{CLUSTER}.{name}": {"maximum": 65535}
        for name in ("port", "patroni.port", "proxy.pgBouncer.port", "standby.port")
    },
    f"{CLUSTER}.authentication.rules[].connection": {"maxLength": 20},
}
# Values that can never work, which Kubernetes or PostgreSQL would refuse only after `kubectl apply`.
RULES = {
    f"{INSTANCES}.dataVolumeClaimSpec": ["has(self.resources.requests.storage)"],
    f"{CLUSTER}.authentication.rules[]": [
        (
            "has(self.hba) || self.connection in "
            "['local', 'host', 'hostssl', 'hostnossl', 'hostgssenc', 'hostnogssenc']"
        )
    ],
}


@cache
def schemas() -> dict[str, Schema]:
    return {kind.NAMES.kind: schema(kind) for kind in KINDS}


def steps(path: str) -> list[str]:
    """`Kind.spec.a[].b{}` as `Kind`, `spec`, `a`, `[]`, `b`, `{}`."""
    return re.findall(r"[^.\[{]+|\[\]|\{\}", path)


def find(path: str) -> tuple[Schema, bool]:
    """The schema at a path, and whether the object around it requires it."""
    kind, *inner = steps(path)
    node, required = schemas()[kind], False
    for step in inner:
        if step == "[]":
            node, required = node["items"], False
        elif step == "{}":
            node, required = node["additionalProperties"], False
        else:
            required = step in node.get("required", ())
            node = node["properties"][step]
    return node, required


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.path)
def test_a_path_keeps_its_contract(row: contract.Row) -> None:
    node, required = find(row.path)
    if row.type == "int-or-string":
        assert node["x-kubernetes-int-or-string"]
        assert "type" not in node
    else:
        assert node["type"] == TYPES.get(row.type, row.type)
    if row.type == "object (free form)":
        assert node["x-kubernetes-preserve-unknown-fields"]
    if row.type == "array (core type)":
        assert node["items"]["properties"]
    if row.type == "object (core type)":
        assert node["properties"]
    assert required == row.required
    # Beside those of the contract, only our maxima limit a field.
    expected = row.keywords | MAXIMA.get(row.path, {})
    ours = {name for name in node if name in LIMITS} - set(expected)
    assert not ours, f"stricter than the contract: {ours}"
    for name, value in expected.items():
        assert node[name] == value, name
    assert [rule["rule"] for rule in node.get("x-kubernetes-validations", ())] == [
        *row.rules,
        *RULES.get(row.path, ()),
    ]
    assert all(rule["message"] for rule in node.get("x-kubernetes-validations", ()))


# Status fields that only this operator has. Percona Operator does not report why a restore failed, and keeps
# the progress of a restore in the cluster's spec and the progress of databaseInitSQL in a separate object.
OUR_OWN = (
    {
        f"PerconaPGRestore.status.{name}"
        for name in ("error", "message", "phase", "phaseSince", "instance", "backupSet", "walLast", "plan")
    }
    | {
        f"PerconaPGRestore.status.plan.{name}"
        for name in ("backupSet", "timeline", "target", "bytes", "instance")
    }
    | {
        "PerconaPGCluster.status.databaseInitSQL",
    }
)
OUR_OWN |= {
    f"PerconaPGCluster.status.pgbackrest.scheduledBackups[].{name}"
    for name in ("schedule", "nextRun", "lastSuccess")
}
OUR_OWN |= {
    f"PerconaPGCluster.status.pgbackrest.repos[].{name}"
    for name in ("reachable", "lastPushed", "freeBytes", "capacityBytes", "measured", "systemIdentifier")
}
OUR_OWN |= {
    f"PerconaPGCluster.status.pgbackrest.restoreDrill{name}"
    for name in ("", ".schedule", ".handled", ".nextRun", ".requested", ".lastProvenRestore", ".drills")
}
OUR_OWN |= {
    f"PerconaPGCluster.status.pgbackrest.restoreDrill.drills[]{name}"
    for name in (
        *("", ".id", ".state", ".repo", ".backup", ".startTime", ".completionTime", ".moment", ".timeline"),
        *(".bytes", ".restoreSeconds", ".checkSeconds", ".checked", ".message"),
    )
}
OUR_OWN |= {"PerconaPGBackup.status.earliestRestorableTime"}
OUR_OWN |= {"PerconaPGCluster.status.pgbackrest.importedBackups"}
OUR_OWN |= {f"PerconaPGBackup.status.repoVolume{name}" for name in ("", ".freeBytes", ".capacityBytes")}


def test_every_maximum_is_of_a_field() -> None:
    assert set(MAXIMA) <= {row.path for row in ROWS}


def test_no_field_exists_beyond_the_contract() -> None:
    paths = {row.path for row in ROWS}
    found: set[str] = set()

    def walk(node: Schema, path: str) -> None:
        found.add(path)
        for name, child in node.get("properties", {}).items():
            walk(child, f"{path}.{name}")
        if "items" in node:
            walk(node["items"], f"{path}[]")
        if isinstance(node.get("additionalProperties"), dict):
            walk(node["additionalProperties"], f"{path}{{}}")

    for kind in KINDS:
        tree = schema(kind, expand=False)
        for part in ("spec", "status"):
            walk(tree["properties"][part], f"{kind.NAMES.kind}.{part}")
    core = {row.path for row in ROWS if "(core type)" in row.type}
    unknown = found - paths - OUR_OWN
    assert {path for path in unknown if not any(path.startswith(parent) for parent in core)} == set()


def values(node: Any, steps: list[str]) -> list[Any]:
    """All values at a path, through every list and map on the way."""
    found = [node]
    for step in steps:
        if step == "[]":
            found = [item for items in found for item in items]
        elif step == "{}":
            found = [value for mapping in found for value in mapping.values()]
        else:
            found = [mapping[step] for mapping in found if step in mapping]
    return found


SAMPLES = {
    "PerconaPGBackup": "backup",
    "PerconaPGCluster": "every-field",
    "PerconaPGRestore": "restore",
    "PerconaPGUpgrade": "upgrade",
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_the_samples_set_every_field_of_the_contract(kind: str) -> None:
    """The API tests send them to a real server; only a field that is set there can be refused."""
    manifest = sample(SAMPLES[kind])
    paths = [row.path for row in ROWS if row.path.startswith(f"{kind}.spec")]
    assert [path for path in paths if not values(manifest, steps(path)[1:])] == []
