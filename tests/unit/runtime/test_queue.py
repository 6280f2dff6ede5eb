"""The queue's promises, on a clock that the test turns."""

import asyncio
import time

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


def of(namespace: str, number: int) -> Key:
    return Key("Thing", namespace, f"{number}")


def test_a_namespace_alone_gets_half_of_the_workers(clock: Clock) -> None:
    queue = WorkQueue("test", workers=32, clock=clock)
    for number in range(100):
        queue.add(of("one", number))
    taken = [key for _ in range(32) if (key := queue.take()) is not None]
    assert len(taken) == 16
    queue.done(taken[0])
    assert queue.take() is not None
    assert queue.take() is None


@pytest.mark.parametrize("tenants", [1, 2, 5, 10, 31])
def test_hanging_tenants_leave_a_worker_to_the_next(clock: Clock, tenants: int) -> None:
    queue = WorkQueue("test", workers=32, clock=clock)
    for number in range(100):
        for tenant in range(tenants):
            queue.add(of(f"hanging{tenant}", number))
    while queue.take() is not None:
        pass
    queue.add(of("next", 1))
    assert queue.take() == of("next", 1)


def test_one_worker_serves_all(clock: Clock) -> None:
    queue = WorkQueue("test", workers=1, clock=clock)
    for number in range(3):
        queue.add(of("one", number))
        queue.add(of("two", number))
    for _ in range(6):
        key = queue.take()
        assert key is not None
        queue.done(key)


def test_a_low_key_of_another_namespace_passes_those_that_wait_for_their_share(clock: Clock) -> None:
    queue = WorkQueue("test", workers=2, clock=clock)
    queue.add(of("one", 1))
    queue.add(of("one", 2))
    queue.add(of("two", 1), low=True)
    assert queue.take() == of("one", 1)
    assert queue.take() == of("two", 1)
    assert queue.take() is None
    queue.done(of("one", 1))
    assert queue.take() == of("one", 2)


def test_the_search_for_a_key_is_fast(clock: Clock) -> None:
    queue = WorkQueue("test", workers=32, clock=clock)
    for number in range(5000):
        queue.add(of("one", number), low=True)
    begin = time.process_time()
    for _ in range(16):
        queue.take()
    for _ in range(100):
        queue.take()
    assert time.process_time() - begin < 1
