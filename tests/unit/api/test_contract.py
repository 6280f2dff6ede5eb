"""Our schemas keep the contract of the custom resources, path by path."""

import re
from functools import cache

import pytest

from pgoperator.api import KINDS
from pgoperator.api.crd import schema
from tests.unit.api import contract

ROWS = contract.read(contract.OWN)
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


@cache
def schemas():
    return {kind.NAMES.kind: schema(kind) for kind in KINDS}


def find(path):
    """The schema at a path, and whether the object around it requires it."""
    kind, *steps = re.findall(r"[^.\[{]+|\[\]|\{\}", path)
    node, required = schemas()[kind], False
    for step in steps:
        if step == "[]":
            node, required = node["items"], False
        elif step == "{}":
            node, required = node["additionalProperties"], False
        else:
            required = step in node.get("required", ())
            node = node["properties"][step]
    return node, required


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.path)
def test_a_path_keeps_its_contract(row):
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
    # Beside those of the contract, nothing limits a field.
    expected = row.keywords
    ours = {name for name in node if name in LIMITS} - set(expected)
    assert not ours, f"stricter than the contract: {ours}"
    for name, value in expected.items():
        assert node[name] == value, name
    assert [rule["rule"] for rule in node.get("x-kubernetes-validations", ())] == row.rules
    assert all(rule["message"] for rule in node.get("x-kubernetes-validations", ()))


# What this operator says beyond the original, which leaves a failed restore without a word, keeps progress
# of a restore in the specification of the cluster, and that of the first SQL in an object of its own.
OUR_OWN = {
    f"PerconaPGRestore.status.{name}"
    for name in ("error", "message", "phase", "phaseSince", "instance", "walLast")
} | {
    "PerconaPGCluster.status.databaseInitSQL",
}
OUR_OWN |= {
    f"PerconaPGCluster.status.pgbackrest.scheduledBackups[].{name}"
    for name in ("schedule", "nextRun", "lastSuccess")
}
OUR_OWN |= {
    f"PerconaPGCluster.status.pgbackrest.repos[].{name}"
    for name in ("reachable", "lastPushed", "freeBytes", "capacityBytes", "measured")
}
OUR_OWN |= {f"PerconaPGBackup.status.repoVolume{name}" for name in ("", ".freeBytes", ".capacityBytes")}


def test_there_is_nothing_that_the_contract_does_not_know():
    paths = {row.path for row in ROWS}
    found = set()

    def walk(node, path):
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


def test_the_contract_is_that_of_the_reference():
    if not contract.REFERENCE.exists():
        pytest.skip(f"{contract.REFERENCE} is not on this machine; the test runs on the copy of its facts")
    assert [row.line for row in ROWS] == [row.line for row in contract.reference()]
