"""Which replicas count: those that stream and have caught up once."""

from pgoperator import naming
from pgoperator.postgres.sql import Facts, Standby
from reconcilers.pgcluster import followers
from reconcilers.pgcluster.memory import Memory
from reconcilers.pgcluster.view import View
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


def told(location: int, **replayed: int | None) -> Facts:
    rows = tuple(Standby(naming.pod(name), "streaming", "async", at) for name, at in replayed.items())
    return Facts(170004, False, "7", complete=True, replication=rows, location=location)


def behind(one: View, memory: Memory) -> list[str]:
    return [i.name for i in followers.unseen(one, memory)]


def test_a_stream_alone_is_not_enough() -> None:
    """It must replay what the primary had when it was first seen to stream; more than that it need not."""
    one, memory = seen({FIRST: "streaming"}), Memory()
    followers.review(one, memory)
    assert behind(one, memory) == [FIRST]
    followers.learn(one, memory, told(500, **{FIRST: None}))
    followers.learn(one, memory, told(900, **{FIRST: 499}))
    assert behind(one, memory) == [FIRST]
    followers.learn(one, memory, told(5000, **{FIRST: 500}))
    assert behind(one, memory) == []
    assert memory.goals == {}


def test_the_primary_s_word_counts_before_patroni_s_does() -> None:
    one, memory = seen({FIRST: "running", SECOND: "running"}), Memory()
    facts = told(7, **{FIRST: 7})
    catching_up = Standby(naming.pod(SECOND), "catchup", "async", 7)
    followers.learn(one, memory, Facts(170004, False, "7", replication=(*facts.replication, catching_up)))
    assert behind(one, memory) == [SECOND]
    followers.review(one, memory)
    assert behind(one, memory) == [SECOND], "Patroni has not spoken yet; that is no word against it"


def test_a_stream_that_patroni_says_has_ended_must_be_shown_again() -> None:
    memory = Memory()
    good = seen({FIRST: "streaming", SECOND: "streaming"})
    followers.learn(good, memory, told(7, **{FIRST: 7, SECOND: 7}))
    followers.review(good, memory)
    assert behind(good, memory) == []
    broken = seen({FIRST: "running", SECOND: "streaming"})
    followers.review(broken, memory)
    assert behind(broken, memory) == [FIRST]
    followers.learn(broken, memory, told(9, **{FIRST: 9}))
    followers.review(broken, memory)
    assert behind(broken, memory) == []


def test_a_pod_that_is_not_ready_begins_anew() -> None:
    memory = Memory()
    good = seen({FIRST: "streaming"})
    followers.learn(good, memory, told(7, **{FIRST: 7}))
    followers.review(seen({FIRST: "streaming"}, unready=(FIRST,)), memory)
    followers.review(good, memory)
    assert behind(good, memory) == [FIRST]


def test_an_operator_that_has_just_started_believes_its_predecessor() -> None:
    ready = seen({FIRST: "streaming", SECOND: "running"}, status="ready")
    fresh = Memory()
    followers.review(ready, fresh)
    assert behind(ready, fresh) == [SECOND]
    experienced = Memory(at=NOW)
    followers.review(ready, experienced)
    assert behind(ready, experienced) == [FIRST, SECOND]
