"""The queue's promises, on a clock that the test turns."""

import asyncio

import pytest

from pgoperator.kube.manifest import Key
from pgoperator.runtime.queue import LOW, WorkQueue

A, B, C = (Key("Thing", "ns", name) for name in "abc")


class Clock:
    """Monotonic seconds that stand still."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue:
    return WorkQueue("test", clock=clock, jitter=lambda _, high: high)


def test_a_key_added_twice_is_taken_once(queue: WorkQueue) -> None:
    queue.add(A)
    queue.add(A)
    assert queue.take() == A
    assert queue.take() is None


def test_a_key_in_work_is_given_to_nobody_else(queue: WorkQueue) -> None:
    queue.add(A)
    assert queue.take() == A
    queue.add(A)
    queue.add(A)
    assert queue.take() is None
    queue.done(A)
    assert queue.take() == A
    queue.done(A)
    assert queue.take() is None


def test_the_earliest_time_wins(queue: WorkQueue, clock: Clock) -> None:
    queue.add(A, after=30)
    queue.add(A, after=10)
    queue.add(A, after=20)
    clock.now += 9.9
    assert queue.take() is None
    clock.now += 0.2
    assert queue.take() == A
    queue.done(A)
    clock.now += 100
    assert queue.take() is None


def test_the_earliest_time_wins_while_in_work(queue: WorkQueue, clock: Clock) -> None:
    queue.add(A)
    queue.take()
    queue.add(A, after=600)
    queue.add(A, after=5)
    queue.done(A)
    clock.now += 5
    assert queue.take() == A


def test_keys_come_in_the_order_they_became_due(queue: WorkQueue, clock: Clock) -> None:
    queue.add(A, after=2)
    queue.add(B, after=1)
    queue.add(C)
    clock.now += 3
    assert [queue.take(), queue.take(), queue.take()] == [C, B, A]


def test_changes_go_before_resyncs(queue: WorkQueue) -> None:
    queue.add(A, low=True)
    queue.add(B, low=True)
    queue.add(C)
    assert queue.depth() == {0: 1, LOW: 2}
    queue.add(B)  # a change while it waits lifts it
    assert queue.depth() == {0: 2, LOW: 1}
    assert [queue.take(), queue.take(), queue.take()] == [C, B, A]


def test_pauses_double_to_the_cap_and_are_forgotten(queue: WorkQueue, clock: Clock) -> None:
    pauses = []
    for _ in range(25):
        pauses.append(queue.retry(A))
        clock.now += 2000
        assert queue.take() == A
        queue.done(A)
    assert pauses[:4] == [0.005, 0.01, 0.02, 0.04]
    assert pauses[-1] == 1000
    assert queue.failures(A) == 25
    queue.forget(A)
    assert queue.retry(A) == 0.005


def test_pauses_can_be_bounded_closer(queue: WorkQueue) -> None:
    assert max(queue.retry(A, cap=10) for _ in range(20)) == 10


def test_jitter_only_shortens() -> None:
    queue = WorkQueue("test")
    pauses = [queue.retry(Key("Thing", "ns", str(n))) for n in range(200)]
    assert all(0.004 <= pause <= 0.005 for pause in pauses)
    assert len(set(pauses)) > 100


def test_times_of_keys_that_return_often_do_not_pile_up(queue: WorkQueue, clock: Clock) -> None:
    for _ in range(5000):
        queue.add(A)
        assert queue.take() == A
        queue.add(A, after=600, low=True)
        queue.done(A)
        clock.now += 0.01
    assert len(queue._later) < 200
    clock.now += 600
    assert queue.take() == A
    queue.done(A)
    clock.now += 6000
    assert queue.take() is None


def test_time_in_work_is_told(queue: WorkQueue, clock: Clock) -> None:
    queue.add(A)
    queue.take()
    clock.now += 7
    assert queue.running_seconds() == [7]
    queue.done(A)
    assert queue.running_seconds() == []


async def test_get_wakes_for_a_new_key_and_ends_when_closed(queue: WorkQueue) -> None:
    first, second = (asyncio.create_task(queue.get()) for _ in range(2))
    await asyncio.sleep(0)
    queue.add(A)
    assert await first == A
    queue.close()
    assert await second is None
    queue.add(B)
    assert await queue.get() is None


async def test_get_wakes_when_a_time_comes() -> None:
    queue = WorkQueue("test")
    queue.add(A, after=0.01)
    async with asyncio.timeout(5):
        assert await queue.get() == A
