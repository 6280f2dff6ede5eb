"""Which replicas count: those that stream and have caught up once."""

from pgoperator import naming
from pgoperator.postgres.sql_report import ServerReport, Standby
from reconcilers.pgcluster.state import replication
from reconcilers.pgcluster.state.cache import ClusterCache, SqlCache
from reconcilers.pgcluster.state.view import View
from tests.support.views import NOW, view
from tests.unit.pgcluster.observed import bootstrapped, instance_pod, leader, stateful_set

PRIMARY, FIRST, SECOND = sorted(p.name for p in view().planned)


def seen(states: dict[str, str], *, unready: tuple[str, ...] = (), status: str = "initializing") -> View:
    objects = [
        bootstrapped(),
        leader(PRIMARY),
        stateful_set(PRIMARY),
        instance_pod(PRIMARY, "primary", "running"),
    ]
    for name, state in states.items():
        objects += [stateful_set(name), instance_pod(name, "replica", state, ready=name not in unready)]
    return view(objects, status={"state": status})


def reported(location: int, **replayed: int | None) -> ServerReport:
    rows = tuple(Standby(naming.pod(name), "streaming", "async", at) for name, at in replayed.items())
    return ServerReport(170004, False, "7", complete=True, replication=rows, location=location)


def behind(one: View, memory: ClusterCache) -> list[str]:
    return [i.name for i in replication.not_following(one, memory)]


def test_a_stream_alone_is_not_enough() -> None:
    """It must replay what the primary had when it was first seen to stream; more than that it need not."""
    one, memory = seen({FIRST: "streaming"}), ClusterCache()
    replication.review(one, memory)
    assert behind(one, memory) == [FIRST]
    replication.learn(one, memory, reported(500, **{FIRST: None}))
    replication.learn(one, memory, reported(900, **{FIRST: 499}))
    assert behind(one, memory) == [FIRST]
    replication.learn(one, memory, reported(5000, **{FIRST: 500}))
    assert behind(one, memory) == []
    assert memory.replication.goals == {}


def test_the_primary_s_word_counts_before_patroni_s_does() -> None:
    one, memory = seen({FIRST: "running", SECOND: "running"}), ClusterCache()
    facts = reported(7, **{FIRST: 7})
    catching_up = Standby(naming.pod(SECOND), "catchup", "async", 7)
    replication.learn(
        one, memory, ServerReport(170004, False, "7", replication=(*facts.replication, catching_up))
    )
    assert behind(one, memory) == [SECOND]
    replication.review(one, memory)
    assert behind(one, memory) == [SECOND], "Patroni has not spoken yet; that is no word against it"


def test_a_stream_that_patroni_says_has_ended_must_be_shown_again() -> None:
    memory = ClusterCache()
    good = seen({FIRST: "streaming", SECOND: "streaming"})
    replication.learn(good, memory, reported(7, **{FIRST: 7, SECOND: 7}))
    replication.review(good, memory)
    assert behind(good, memory) == []
    broken = seen({FIRST: "running", SECOND: "streaming"})
    replication.review(broken, memory)
    assert behind(broken, memory) == [FIRST]
    replication.learn(broken, memory, reported(9, **{FIRST: 9}))
    replication.review(broken, memory)
    assert behind(broken, memory) == []


def test_a_pod_that_is_not_ready_begins_anew() -> None:
    memory = ClusterCache()
    good = seen({FIRST: "streaming"})
    replication.learn(good, memory, reported(7, **{FIRST: 7}))
    replication.review(seen({FIRST: "streaming"}, unready=(FIRST,)), memory)
    replication.review(good, memory)
    assert behind(good, memory) == [FIRST]


def test_an_operator_that_has_just_started_believes_its_predecessor() -> None:
    ready = seen({FIRST: "streaming", SECOND: "running"}, status="ready")
    fresh = ClusterCache()
    replication.review(ready, fresh)
    assert behind(ready, fresh) == [SECOND]
    experienced = ClusterCache(sql=SqlCache(at=NOW))
    replication.review(ready, experienced)
    assert behind(ready, experienced) == [FIRST, SECOND]
