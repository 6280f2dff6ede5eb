"""Ready means that a write is acknowledged: what the primary's pod reports is a problem of the cluster."""

import json
from typing import Any

import pytest

from pgoperator import labels
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster import pipeline
from reconcilers.pgcluster.state.findings import Problem
from reconcilers.pgcluster.state.view import View
from reconcilers.pgcluster.status import decide_writes
from reconcilers.pgcluster.watches import WATCHES
from tests.support.views import view
from tests.unit.pgcluster.observed import instance_pod, leader

NAMES = sorted(p.name for p in view().planned)
PAUSED = {"proxy": {"pgBouncer": {"replicas": 1, "port": 5432, "paused": True}}}


def pod(name: str, role: str, text: str | None) -> Manifest:
    made = instance_pod(name, role)
    if text is not None:
        made["metadata"]["annotations"][labels.WRITE_FAILURE] = text
    return made


def says(cause: str, through: str = "") -> str:
    return json.dumps({"since": "2026-01-02T03:00:00Z", "cause": cause, "through": through})


def seen(primary: str | None, replica: str | None = None, **spec: Any) -> View:
    pods = [pod(NAMES[0], "primary", primary), pod(NAMES[1], "replica", replica)]
    return view([*pods, leader(NAMES[0])], **spec)


def test_the_cause_is_what_postgresql_said() -> None:
    cause = "cannot execute DELETE in a read-only transaction"
    text = f"writes to {NAMES[0]}-0 have not been acknowledged since 2026-01-02T03:00:00Z: {cause}"
    assert decide_writes.problems(seen(says(cause))) == [Problem("WriteFailing", text)]


@pytest.mark.parametrize("text", [None, "", "null", "{}", "[]", '{"since": "x", "cause": 1}'])
def test_without_a_report_writes_are_acknowledged(text: str | None) -> None:
    assert decide_writes.problems(seen(text)) == []


def test_only_the_primary_counts() -> None:
    assert decide_writes.problems(seen(None, says("it was once the primary"))) == []
    assert decide_writes.problems(view([pod(NAMES[0], "primary", says("x"))])) == [], "without the lock"


@pytest.mark.parametrize("spec", [PAUSED, {"proxy": None}])
def test_a_pooler_that_is_paused_or_gone_is_not_missed(spec: dict[str, Any]) -> None:
    assert decide_writes.problems(seen(says("no answer", "pgBouncer"), **spec)) == []
    assert decide_writes.problems(seen(says("read-only"), **spec)) != []
    assert decide_writes.problems(seen(says("no answer", "pgBouncer"))) != []


@pytest.mark.parametrize(
    ("spec", "address"),
    [
        ({}, "cluster1-pgbouncer.ns1.svc 5432\n"),
        ({"proxy": None}, None),
        (PAUSED, None),
        ({"proxy": {"pgBouncer": {"config": {"databases": {"app": "host=h"}}}}}, None),
    ],
)
def test_the_pods_know_the_pooler_without_a_restart(spec: dict[str, Any], address: str | None) -> None:
    """Its address is in a ConfigMap that the kubelet updates, and its password in an optional source."""
    manifests = pipeline.BUILDERS["configuration"](view(**spec))
    assert isinstance(manifests, list)
    assert manifests[0]["data"].get("pooler") == address
    pods = [pipeline.BUILDERS["instances"](v) for v in (view(), view(**spec))]
    assert [m["spec"]["template"] for m in pods[0] if "template" in m["spec"]] == [  # type: ignore[union-attr]
        m["spec"]["template"]
        for m in pods[1]  # type: ignore[union-attr]
        if "template" in m["spec"]
    ]


def test_a_report_wakes_the_cluster() -> None:
    [watch] = [watch for watch in WATCHES if watch.kind == kinds.POD]
    assert watch.keep is not None
    assert watch.keep(pod(NAMES[0], "primary", None), pod(NAMES[0], "primary", says("x")))
