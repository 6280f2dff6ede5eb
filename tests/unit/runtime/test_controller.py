"""What becomes of a key after a pass."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from pgoperator import log, metrics
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec, OperatorError
from pgoperator.kube.access import Access
from pgoperator.kube.apply import Applier
from pgoperator.kube.client import Client
from pgoperator.kube.errors import Unreachable, from_status
from pgoperator.kube.events import Recorder
from pgoperator.kube.kinds import PG_CLUSTER
from pgoperator.kube.manifest import Key
from pgoperator.kube.store import Store
from pgoperator.runtime.controller import Controller, Workers
from pgoperator.runtime.queue import WorkQueue
from pgoperator.runtime.result import Done, Result, Wait
from pgoperator.settings import Settings
from tests.unit.runtime.test_queue import Clock

KEY = Key("PerconaPGCluster", "ns", "hippo")
Reconcile = Callable[[Context, Key], Awaitable[Result]]


@pytest.fixture
async def context() -> AsyncIterator[Context]:
    async def token(refresh: bool) -> str:
        return ""

    client = Client(Access("http://127.0.0.1:9", None, token))  # nobody listens there
    store = Store()
    meta = {"name": KEY.name, "namespace": KEY.namespace, "resourceVersion": "1"}
    store.open(PG_CLUSTER, None).put({"kind": KEY.kind, "metadata": meta})
    yield Context(
        client, store, Applier(client, store), Recorder(client), Settings(), lambda: datetime.now(UTC)
    )
    await client.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def workers(context: Context, clock: Clock, reconcile: Reconcile, *, deadline: float = 5) -> Workers:
    queue = WorkQueue("unit", clock=clock, jitter=lambda _, high: high)
    controller = Controller("unit", PG_CLUSTER, reconcile)
    return Workers(controller, context, queue, deadline=deadline, clock=clock)


def ending(outcome: Result | Exception) -> Reconcile:
    async def reconcile(context: Context, key: Key) -> Result:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return reconcile


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, {"controller": "unit"} | labels) or 0.0


async def test_done_waits_for_the_resync(context: Context, clock: Clock) -> None:
    running = workers(context, clock, ending(Done()))
    before = value("controller_runtime_reconcile_total", result="success")
    await running.one_pass(KEY)
    due = running.queue.waiting(KEY)
    assert due is not None
    assert 60 < due <= 660
    assert value("controller_runtime_reconcile_total", result="success") == before + 1


async def test_resyncs_come_once_in_their_period(context: Context, clock: Clock) -> None:
    running = workers(context, clock, ending(Done()))
    moments = []
    for _ in range(3):
        await running.one_pass(KEY)
        due = running.queue.waiting(KEY)
        assert due is not None
        clock.now += due
        assert running.queue.take() == KEY
        running.queue.done(KEY)
        moments.append(clock.now)
    assert [round(after - before, 6) for before, after in pairwise(moments)] == [
        600,
        600,
    ]


async def test_resyncs_of_many_are_spread(context: Context, clock: Clock) -> None:
    running = workers(context, clock, ending(Done()))
    moments = sorted(
        running._until_resync(Key("PerconaPGCluster", "ns", f"cluster{number}")) for number in range(300)
    )
    assert max(after - before for before, after in pairwise(moments)) < 30


async def test_what_is_gone_is_not_resynced(context: Context, clock: Clock) -> None:
    running = workers(context, clock, ending(Done()))
    await running.one_pass(Key("PerconaPGCluster", "ns", "gone"))
    assert running.queue.waiting(Key("PerconaPGCluster", "ns", "gone")) is None


async def test_wait_comes_back_as_asked_and_resets_the_pauses(context: Context, clock: Clock) -> None:
    running = workers(context, clock, ending(Wait("no primary", 5)))
    running.queue.retry(KEY)
    clock.now += 1
    running.queue.done(running.queue.take() or KEY)
    await running.one_pass(KEY)
    assert running.queue.waiting(KEY) == 5
    assert running.queue.failures(KEY) == 0


async def test_errors_are_retried_longer_each_time(context: Context, clock: Clock) -> None:
    running = workers(context, clock, ending(OperatorError("toy")))
    errors, panics = (value(f"controller_runtime_reconcile_{what}_total") for what in ("errors", "panics"))
    for expected in (0.005, 0.01, 0.02):
        await running.one_pass(KEY)
        assert running.queue.waiting(KEY) == pytest.approx(expected)
        clock.now += expected
        running.queue.done(running.queue.take() or KEY)
    assert value("controller_runtime_reconcile_errors_total") == errors + 3
    assert value("controller_runtime_reconcile_panics_total") == panics


async def test_terminal_errors_are_left_to_the_resync(context: Context, clock: Clock) -> None:
    running = workers(context, clock, ending(InvalidSpec("toy")))
    before = value("controller_runtime_terminal_reconcile_errors_total")
    await running.one_pass(KEY)
    due = running.queue.waiting(KEY)
    assert due is not None
    assert due > 60
    assert value("controller_runtime_terminal_reconcile_errors_total") == before + 1


OUTAGES = [
    Unreachable("no response"),
    from_status(500, "InternalError", "etcdserver: request timed out"),
    from_status(503, "ServiceUnavailable", ""),
    from_status(504, "Timeout", ""),
]


async def fail(running: Workers, clock: Clock, times: int) -> float:
    """Run failing passes, each when it is due; return the last backoff."""
    due = 0.0
    for _ in range(times):
        await running.one_pass(KEY)
        due = running.queue.waiting(KEY) or 0
        clock.now += due
        running.queue.done(running.queue.take() or KEY)
    return due


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda error: f"{type(error).__name__}-{error.status}")
async def test_an_outage_is_tried_often_enough_to_notice_its_end(
    context: Context, clock: Clock, outage: Exception
) -> None:
    running = workers(context, clock, ending(outage))
    for _ in range(20):
        assert await fail(running, clock, 1) <= 10.001


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda error: f"{type(error).__name__}-{error.status}")
async def test_the_first_error_after_an_outage_has_a_short_backoff(
    context: Context, clock: Clock, outage: Exception
) -> None:
    outcomes: list[Exception] = [outage] * 31 + [from_status(409, "Conflict", "")] * 2

    async def reconcile(context: Context, key: Key) -> Result:
        raise outcomes.pop(0)

    running = workers(context, clock, reconcile)
    assert await fail(running, clock, 31) == pytest.approx(10)
    assert await fail(running, clock, 1) == pytest.approx(0.005)
    assert await fail(running, clock, 1) == pytest.approx(0.01)


async def test_a_server_that_asks_to_wait_is_obeyed(context: Context, clock: Clock) -> None:
    running = workers(context, clock, ending(from_status(429, "TooManyRequests", "", retry_after=30)))
    await running.one_pass(KEY)
    assert running.queue.waiting(KEY) == 30


async def test_a_pass_that_hangs_is_cancelled_counted_and_retried(context: Context, clock: Clock) -> None:
    ended: list[str] = []

    async def reconcile(context: Context, key: Key) -> Result:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")
        return Done()

    running = workers(context, clock, reconcile, deadline=0.01)
    before = value("controller_runtime_reconcile_timeouts_total")
    await running.one_pass(KEY)
    assert ended == ["cancelled"]
    assert running.queue.waiting(KEY) == pytest.approx(0.005)
    assert value("controller_runtime_reconcile_timeouts_total") == before + 1


@pytest.mark.parametrize("error", [OperatorError("refused"), TimeoutError("inner")], ids=repr)
async def test_a_cancelled_worker_ends_even_if_its_pass_fails_at_the_end(
    context: Context, clock: Clock, error: Exception
) -> None:
    """After the Lease is lost, a worker that goes on would be a second leader."""
    began: list[str] = []

    async def reconcile(context: Context, key: Key) -> Result:
        began.append(key.name)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise error from None
        return Done()

    running = workers(context, clock, reconcile)
    running.queue.add(KEY)
    running.queue.add(Key("PerconaPGCluster", "ns", "second"))
    task = asyncio.create_task(running.work())
    while not began:  # noqa: ASYNC110
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=1)
    assert task.cancelled()
    assert began == ["hippo"]


async def test_a_timeout_of_the_passes_own_is_an_error_like_others(context: Context, clock: Clock) -> None:
    running = workers(context, clock, ending(TimeoutError("inner")))
    before = value("controller_runtime_reconcile_timeouts_total")
    await running.one_pass(KEY)
    assert value("controller_runtime_reconcile_timeouts_total") == before
    assert running.queue.waiting(KEY) == pytest.approx(0.005)


async def test_every_line_of_a_pass_names_it_and_a_bug_is_logged_once(
    context: Context, clock: Clock, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    async def reconcile(context: Context, key: Key) -> Result:
        import structlog

        structlog.get_logger().info("inside")
        raise ValueError("toy")

    log.configure(level="INFO", structured=True)
    try:
        await workers(context, clock, reconcile).one_pass(KEY)
    finally:
        import structlog

        structlog.reset_defaults()
    lines = [json.loads(line) for line in capfdbinary.readouterr().err.splitlines()]
    mine = [line for line in lines if line.get("controller") == "unit"]
    assert [line["event"] for line in mine] == ["inside", "reconciliation failed unexpectedly"]
    assert {(line["namespace"], line["cluster"]) for line in mine} == {("ns", "hippo")}
    assert len({line["reconcile_id"] for line in mine}) == 1
    assert "ValueError: toy" in mine[1]["exception"]


async def test_a_controller_watches_its_own_kind(context: Context) -> None:
    controller = Controller("unit", PG_CLUSTER, ending(Done()))
    (watch,) = controller.all_watches()
    assert watch.kind == PG_CLUSTER
    meta = {"name": "hippo", "namespace": "ns"}
    assert list(watch.to_keys({"kind": "PerconaPGCluster", "metadata": meta})) == [KEY]


async def test_ten_tenants_whose_passes_hang_delay_nobody(context: Context) -> None:
    """On the real queue and workers, in real time: hanging passes of twenty objects of each tenant."""
    hang = asyncio.Event()
    ended: dict[str, float] = {}

    async def reconcile(context: Context, key: Key) -> Result:
        if key.namespace.startswith("hanging"):
            await hang.wait()
        ended[str(key)] = time.monotonic()
        return Done()

    controller = Controller("unit", PG_CLUSTER, reconcile)
    queue = WorkQueue("unit", workers=controller.workers)
    running = Workers(controller, context, queue)
    tasks = [asyncio.create_task(running.work()) for _ in range(controller.workers)]
    for number in range(20):
        for tenant in range(10):
            queue.add(Key(PG_CLUSTER.kind, f"hanging{tenant}", f"{number}"))
    await asyncio.sleep(0.2)
    assert 20 <= len(queue.running_seconds()) < controller.workers
    begin = time.monotonic()
    good = [Key(PG_CLUSTER.kind, "good", f"{number}") for number in range(50)]
    for key in good:
        queue.add(key)
    while len(ended) < len(good):
        assert time.monotonic() - begin < 2
        await asyncio.sleep(0.01)
    # When the others go on, all of theirs are served as well.
    hang.set()
    async with asyncio.timeout(5):
        while len(ended) < len(good) + 200:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    queue.close()
    await asyncio.gather(*tasks)


async def test_no_error_ends_a_worker(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        """What a library in Rust raises."""

    errors = [Panic("rust"), RecursionError(), MemoryError(), OperatorError("\ud800"), AssertionError(10**30)]
    seen: list[str] = []

    async def reconcile(context: Context, key: Key) -> Result:
        seen.append(key.name)
        if errors:
            raise errors.pop()
        return Done()

    queue = WorkQueue("unit", workers=1)
    running = Workers(Controller("unit", PG_CLUSTER, reconcile), context, queue)
    failed = Workers._failed

    def fail_once(self: Workers, key: Key, error: BaseException) -> None:
        failed(self, key, error)
        if isinstance(error, MemoryError):
            raise TypeError("the report fails as well")

    monkeypatch.setattr(Workers, "_failed", fail_once)
    task = asyncio.create_task(running.work())
    for number in range(10):
        queue.add(Key(PG_CLUSTER.kind, "ns", f"{number}"))
    async with asyncio.timeout(5):
        while len(seen) < 15:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert set(seen) == {f"{number}" for number in range(10)}
    queue.close()
    await task


@pytest.mark.parametrize("value", [10**30, "\ud800", float("nan"), {"a": [10**30]}])
def test_any_value_can_be_logged(value: object) -> None:
    assert json.loads(log._dumps({"event": "x", "value": value}))["event"] == "x"
