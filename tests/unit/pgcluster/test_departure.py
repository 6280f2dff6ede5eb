"""A primary whose pod is being deleted: which replica takes over."""

from dataclasses import replace
from typing import Any

import pytest

from reconcilers.pgcluster.rollout.decide_departure import decide
from reconcilers.pgcluster.state.view import Restoring, View
from tests.support.views import view
from tests.unit.pgcluster.observed import endpoints, instance_pod, leader, stateful_set
from tests.unit.pgcluster.test_patroni_paused import with_configuration

A, B, C = sorted(p.name for p in view().planned)
REPLICAS = frozenset({B, C})
GOES: dict[str, Any] = {"deletionTimestamp": "2026-01-02T03:04:05Z"}


def seen(*deleted: str, holder: str = A, more: tuple[Any, ...] = ()) -> View:
    """A is labelled as the primary, `holder` has the lock, and the pods of `deleted` are being deleted."""
    objects = [leader(holder), *more]
    for name in (A, B, C):
        one = instance_pod(name, "primary" if name == A else "replica")
        if name in deleted:
            one["metadata"] |= GOES
        objects += [stateful_set(name), one]
    return view(objects)


def candidate(one: View, serving: frozenset[str] = REPLICAS) -> str | None:
    step = decide(one, serving)
    return step.candidate.name if step is not None else None


def test_a_replica_takes_over_once_the_pod_is_being_deleted() -> None:
    assert candidate(seen()) is None
    step = decide(seen(A), REPLICAS)
    assert step is not None
    assert (step.primary.name, step.candidate.name, step.uid) == (A, C, f"uid-of-{A}-0")
    assert candidate(seen(A), frozenset({B})) == B


def test_the_pod_of_a_replica_is_no_matter() -> None:
    assert candidate(seen(B)) is None


def test_without_a_replica_that_serves_the_pod_is_left_to_itself() -> None:
    assert candidate(seen(A, B, C), frozenset()) is None


def test_a_primary_that_has_lost_the_lock_is_left_to_patroni() -> None:
    assert candidate(seen(A, holder=B)) is None


def test_with_synchronous_replication_only_a_synchronous_replica() -> None:
    def synchronous(names: str) -> Any:
        return endpoints("cluster1-ha-sync", {"leader": f"{A}-0", "sync_standby": names})

    assert candidate(seen(A, more=(synchronous(f"{B}-0"),))) == B
    assert candidate(seen(A, more=(synchronous(""),))) is None


@pytest.mark.parametrize("why", ["restore", "paused cluster", "paused Patroni"])
def test_nobody_takes_over_in_between(why: str) -> None:
    one = replace(seen(A), paused=why == "paused cluster")
    if why == "restore":
        one = replace(one, restoring=Restoring("r", "Stopping", A))
    if why == "paused Patroni":
        dcs = with_configuration(pause=True).observed.dcs
        one = replace(one, observed=replace(one.observed, dcs=dcs))
    assert candidate(one) is None
