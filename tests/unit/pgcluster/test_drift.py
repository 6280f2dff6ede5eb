"""When users and databases are compared again although nobody has changed what is wanted."""

import dataclasses
from datetime import datetime, timedelta

from pgoperator.postgres.sql import Facts
from reconcilers.pgcluster import databases, extensions
from reconcilers.pgcluster.memory import Memory
from reconcilers.pgcluster.view import View
from tests.support.views import NOW, view
from tests.unit.pgcluster.observed import bootstrapped, instance_pod, leader, stateful_set

PRIMARY = min(p.name for p in view().planned)
FACTS = Facts(170004, False, "7", complete=True, preloaded=tuple(extensions.candidates(view())))
LATEST = timedelta(minutes=10)


def alone(now: datetime) -> View:
    """A cluster of one, in which nothing is changed."""
    objects = [
        bootstrapped(),
        leader(PRIMARY),
        stateful_set(PRIMARY),
        instance_pod(PRIMARY, "primary", "running"),
    ]
    return dataclasses.replace(view(objects), now=now, missing_libraries=())


def compared(at: datetime) -> Memory:
    memory = Memory(digest="wanted", primary="uid")
    databases._remember(alone(at), memory, FACTS, "resync")
    return memory


def reason(now: datetime, memory: Memory) -> str | None:
    return databases._reason(alone(now), memory, "wanted", "uid")


def test_drift_is_looked_for_ten_minutes_after_the_last_run_at_the_latest() -> None:
    """Whatever happened at which moment of the resync's own period."""
    for second in range(0, 600, 60):
        at = NOW + timedelta(seconds=second)
        memory = compared(at)
        wait = databases.next_look(alone(at), memory)
        assert wait is not None
        next_pass = at + timedelta(seconds=wait.seconds)
        assert next_pass - at <= LATEST
        assert reason(next_pass, memory) == "resync"


def test_in_between_nothing_runs() -> None:
    memory = compared(NOW)
    for seconds in (0, 1, 60, 300):
        assert reason(NOW + timedelta(seconds=seconds), memory) is None


def test_a_run_that_failed_when_it_was_due_is_not_tried_without_end() -> None:
    assert databases.next_look(alone(NOW + LATEST), compared(NOW)) is None
    assert reason(NOW + LATEST, compared(NOW)) == "resync"


def test_clusters_of_one_moment_are_spread_over_the_next() -> None:
    assert len({compared(NOW).due for _ in range(10)}) > 1
