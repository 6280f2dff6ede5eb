"""A switchover that a person asks for: what becomes of it, in every situation."""

from dataclasses import replace
from typing import Any

import pytest

from pgoperator import labels
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.rollout import decide_switchover
from reconcilers.pgcluster.rollout.act_handover import address, is_strict
from reconcilers.pgcluster.rollout.decide_switchover import Promote, RecordTimeline
from reconcilers.pgcluster.state.cache import SwitchoverOutcome
from reconcilers.pgcluster.state.view import Instance, Restoring, View
from tests.support.views import view
from tests.unit.pgcluster.observed import bootstrapped, instance_pod, leader, stateful_set

A, B, C = sorted(p.name for p in view().planned)
ALL = frozenset({A, B, C})


def asked(
    value: str = "now",
    *,
    primary: str | None = A,
    status: Manifest | None = None,
    prefix: str = labels.PERCONA,
    **wanted: Any,
) -> View:
    """Timeline 1; the first is the primary."""
    objects: list[Manifest] = [bootstrapped(), *([leader(primary)] if primary else [])]
    for name in (A, B, C):
        role, state = ("primary", "running") if name == primary else ("replica", "streaming")
        objects += [stateful_set(name), instance_pod(name, role, state)]
    one = view(
        objects,
        patroni={"switchover": {"enabled": True} | wanted},
        status={"patroni": {"status": status or {}}},
    )
    manifest = one.manifest | {"metadata": one.manifest["metadata"] | {"annotations": {}}}
    if value:
        manifest["metadata"]["annotations"] = {prefix + labels.TRIGGER_SWITCHOVER: value}
    return replace(one, manifest=manifest)


BEGUN = {"switchoverTimeline": 1}


def test_nothing_new() -> None:
    assert decide_switchover.decide(asked(""), ALL) is None
    assert decide_switchover.decide(asked(status={"switchover": "now"}), ALL) is None


@pytest.mark.parametrize("prefix", [labels.PERCONA, labels.CRUNCHY])
def test_the_timeline_is_noted_before_anything_is_done(prefix: str) -> None:
    assert decide_switchover.decide(asked(prefix=prefix), ALL) == RecordTimeline("now", 1)
    assert decide_switchover.decide(
        asked(status={"switchover": "before"}, prefix=prefix), ALL
    ) == RecordTimeline("now", 1)


def test_who_takes_over() -> None:
    found = decide_switchover.decide(asked(status=BEGUN, targetInstance=B), ALL)
    assert isinstance(found, Promote)
    assert (found.candidate.name, found.failover) == (B, False)
    found = decide_switchover.decide(asked(status=BEGUN), ALL - {C})
    assert isinstance(found, Promote)
    assert found.candidate.name == B
    found = decide_switchover.decide(
        asked(primary=None, status=BEGUN, targetInstance=C, type="Failover"), frozenset()
    )
    assert isinstance(found, Promote)
    assert (found.candidate.name, found.failover) == (C, True)


def test_what_a_predecessor_has_done_is_not_done_again() -> None:
    found = decide_switchover.decide(asked(status={"switchoverTimeline": 0}), ALL)
    assert isinstance(found, SwitchoverOutcome)
    assert (found.status, found.reason) == (True, "Done")


def test_a_timeline_that_is_told_late_is_no_switchover() -> None:
    """The primary was new when it began, and its pod reported the timeline before."""
    found = decide_switchover.decide(asked(status={"switchoverTimeline": 0}), ALL, former=A)
    assert isinstance(found, Promote)
    found = decide_switchover.decide(asked(status={"switchoverTimeline": 0}), ALL, former=B)
    assert isinstance(found, SwitchoverOutcome)


def test_the_primary_as_target_is_no_work() -> None:
    found = decide_switchover.decide(asked(targetInstance=A), ALL)
    assert isinstance(found, SwitchoverOutcome)
    assert found.status


REFUSED = {
    "off": (asked(enabled=False), ALL, "NotEnabled"),
    "failover without a target": (asked(type="Failover"), ALL, "NoTarget"),
    "unknown target": (asked(targetInstance="nobody"), ALL, "NoCandidate"),
    "a target that does not follow": (asked(targetInstance=B), ALL - {B}, "NoCandidate"),
    "no replica follows": (asked(), frozenset({A}), "NoCandidate"),
    "no primary": (asked(primary=None), ALL, "NoPrimary"),
    "paused": (replace(asked(), paused=True), ALL, "Waiting"),
    "restored": (replace(asked(), restoring=Restoring("r", "Replicas", A)), ALL, "Waiting"),
}


@pytest.mark.parametrize("situation", REFUSED)
def test_what_cannot_be_is_explained(situation: str) -> None:
    one, serving, reason = REFUSED[situation]
    found = decide_switchover.decide(one, serving)
    assert isinstance(found, SwitchoverOutcome)
    assert (found.status, found.reason) == (False, reason)
    assert found.message


@pytest.mark.parametrize(
    ("config", "strict"),
    [
        ({}, False),
        ({"global": {"pool_mode": "transaction"}}, True),
        ({"global": {"pool_mode": "statement"}}, True),
        ({"global": {"pool_mode": "transaction"}, "users": {"app": "pool_mode=session"}}, False),
        ({"global": {"pool_mode": "transaction"}, "databases": {"*": "host=x pool_mode=session"}}, False),
        ({"databases": {"*": "host=x pool_mode=transaction"}}, False),
    ],
)
def test_whether_transactions_can_be_waited_for(config: Manifest, strict: bool) -> None:
    pooler = view(proxy={"pgBouncer": {"config": config}}).cluster.spec.pg_bouncer
    assert pooler is not None
    assert is_strict(pooler) is strict


def test_a_pod_is_asked_at_the_port_that_it_has() -> None:
    """While the port changes, the primary still listens on the old one."""
    one = view(patroni={"port": 9008})
    ports = [{"name": "postgres", "containerPort": 5432}, {"name": "patroni", "containerPort": 8008}]
    pod = instance_pod(A) | {"spec": {"containers": [{"name": "database", "ports": ports}]}}
    assert address(one, Instance(A, "instance1", pod=pod)) == f"{A}-0.cluster1-pods:8008"
    assert address(one, Instance(A, "instance1")) == f"{A}-0.cluster1-pods:9008"
