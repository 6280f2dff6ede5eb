"""Which member is restarted next for its parameters."""

import json
from dataclasses import replace
from typing import Any

import pytest

from pgoperator.kube.manifest import Manifest
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.rollout import decide_pending_check, decide_restarts
from reconcilers.pgcluster.rollout.decide_restarts import RestartPostgres
from reconcilers.pgcluster.state.view import View
from tests.support.views import view
from tests.unit.pgcluster.observed import bootstrapped, instance_pod, leader, stateful_set

A, B, C = sorted(p.name for p in view().planned)
ALL = frozenset({A, B, C})
GROWS, SHRINKS = {"max_connections": ("100", "107")}, {"max_wal_senders": ("10", "8")}
FREE = {"shared_buffers": ("128MB", "64MB")}


def waiting(**pending: dict[str, tuple[str, str]]) -> View:
    """The first is the primary; keywords a, b, c: what waits for a restart there."""
    objects: list[Manifest] = [bootstrapped(), leader(A)]
    for name, key in ((A, "a"), (B, "b"), (C, "c")):
        role, state = ("primary", "running") if name == A else ("replica", "streaming")
        pod = instance_pod(name, role, state)
        says: dict[str, Any] = json.loads(pod["metadata"]["annotations"]["status"])
        if found := pending.get(key):
            says["pending_restart"] = True
            says["pending_restart_reason"] = {
                parameter: {"old_value": old, "new_value": new} for parameter, (old, new) in found.items()
            }
        pod["metadata"]["annotations"]["status"] = json.dumps(says)
        objects += [stateful_set(name), pod]
    return view(objects)


def reload(name: str) -> RestartPostgres:
    return RestartPostgres(name, f"uid-of-{name}-0")


SITUATIONS: dict[str, tuple[View, RestartPostgres | None]] = {
    "nobody waits": (waiting(), None),
    "replicas first": (waiting(a=FREE, b=FREE, c=FREE), reload(B)),
    "then the primary": (waiting(a=FREE), reload(A)),
    "what grows, at the replicas first": (waiting(a=GROWS, b=GROWS, c=GROWS), reload(B)),
    "what shrinks, at the primary first": (waiting(a=SHRINKS, b=SHRINKS, c=SHRINKS), reload(A)),
    "then at the replicas": (waiting(b=SHRINKS, c=SHRINKS), reload(B)),
    "both at once: replicas for what grows": (
        waiting(a=GROWS | SHRINKS, b=GROWS | SHRINKS, c=SHRINKS),
        reload(B),
    ),
    "then the primary for what shrinks": (waiting(a=GROWS | SHRINKS, b=SHRINKS, c=SHRINKS), reload(A)),
    "a value that is no number": (
        waiting(a={"max_connections": ("100", "?")}, b={"x": ("1", "?")}),
        reload(B),
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_step(situation: str) -> None:
    one, expected = SITUATIONS[situation]
    assert decide_restarts.next_step(one, ALL, {}) == expected


def test_all_must_serve() -> None:
    assert isinstance(decide_restarts.next_step(waiting(a=FREE, b=FREE), ALL - {C}, {}), Wait)


def test_what_did_not_help_is_not_done_again() -> None:
    """Patroni tells of a restart in its next round; until then, and where it changed nothing, no other."""
    one = waiting(b=FREE)
    pending = one.observed.instances[1].member.pending
    assert isinstance(decide_restarts.next_step(one, ALL, {f"uid-of-{B}-0": pending}), Wait)
    more = waiting(b=FREE | GROWS)
    assert decide_restarts.next_step(more, ALL, {f"uid-of-{B}-0": pending}) == reload(B)


def test_a_patroni_that_gives_no_reasons() -> None:
    one = waiting(a=FREE, b=FREE)
    for instance in one.observed.instances:
        assert instance.pod is not None
    objects = [instance_pod(B), stateful_set(B), stateful_set(A), instance_pod(A, "primary", "running")]
    objects[0]["metadata"]["annotations"]["status"] = '{"state": "streaming", "pending_restart": true}'
    two = view([bootstrapped(), leader(A), *objects])
    assert decide_restarts.next_step(two, ALL, {}) == reload(B)


def test_pending_parameters_are_checked_after_each_change_of_the_configuration() -> None:
    one = waiting()
    first = decide_pending_check.updated(one, None)
    assert first.due is None, "a new process asks nothing"
    assert decide_pending_check.updated(one, first) == first

    changed = decide_pending_check.updated(one, first._replace(digest="another"))
    assert changed.due is not None
    assert changed.due > one.now
    assert decide_pending_check.updated(one, changed) == changed, "the time stays"
    assert isinstance(decide_pending_check.obstacle(one, ALL, changed), Wait)
    later = replace(one, now=changed.due)
    assert decide_pending_check.obstacle(later, ALL, changed) is None
    assert isinstance(decide_pending_check.obstacle(later, ALL - {C}, changed), Wait)


def test_pending_parameters_are_checked_after_a_restart_for_them() -> None:
    check = decide_pending_check.after_restart(waiting())
    assert decide_pending_check.updated(waiting(), check) == check
    assert check.due is not None
