"""What a watch does with words that a real server says seldom."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog

from pgoperator.kube.client import Client
from pgoperator.kube.kinds import POD
from pgoperator.kube.store import Event, Store
from pgoperator.kube.watch import Watcher
from tests.support.stub_api import StubApi

END = None


def pod(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "ns", "resourceVersion": str(version)}}


def event(kind: str, name: str, version: int) -> dict[str, Any]:
    return {"type": kind, "object": {"apiVersion": "v1", "kind": "Pod", **pod(name, version)}}


def bookmark(version: int) -> dict[str, Any]:
    return {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(version)}}}


def error(code: int, reason: str) -> dict[str, Any]:
    return {
        "type": "ERROR",
        "object": {"kind": "Status", "code": code, "reason": reason, "message": "scripted"},
    }


class Run:
    """A watcher on a stub, with every pause written down instead of waited."""

    def __init__(self, stub: StubApi, client: Client, *, silence: float = 5) -> None:
        self.stub = stub
        self.store = Store()
        self.pauses: list[float] = []
        self.events: list[Event] = []
        self.shard = self.store.open(POD, "ns")
        self._watcher = Watcher(
            client,
            self.shard,
            self.events.append,
            silence=silence,
            sleep=self._pause,
            clock=lambda: sum(self.pauses),
        )

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def until(self, watches: int) -> None:
        """Run until so many watches have begun and everything scripted was read."""
        task = asyncio.create_task(self._watcher.run())
        async with asyncio.timeout(10):
            while len(self.stub.watched_from()) < watches or self.stub.watches:
                assert not task.done(), task
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    @property
    def names(self) -> list[str]:
        return [key.name for key in self.store.keys(POD)]


@pytest.fixture
async def stub() -> AsyncIterator[StubApi]:
    stub = StubApi()
    yield stub
    await stub.stop()


@pytest.fixture
async def client(stub: StubApi) -> AsyncIterator[Client]:
    client = Client(await stub.start())
    yield client
    await client.close()


@pytest.fixture
async def run(stub: StubApi, client: Client) -> Run:
    return Run(stub, client)


async def test_goes_on_from_the_last_event_or_bookmark(run: Run) -> None:
    run.stub.items = [pod("a", 5)]
    run.stub.watches = [[event("ADDED", "b", 11), END], [bookmark(50), END], []]
    await run.until(3)
    assert run.stub.watched_from() == ["10", "11", "50"]
    assert run.names == ["a", "b"]
    assert run.store.seen(POD, "ns") == 50
    assert run.pauses == []
    assert [item.initial for item in run.events] == [True, False]


async def test_asks_for_bookmarks_and_an_end(run: Run) -> None:
    await run.until(1)
    query = run.stub.requests[-1]
    assert query["allowWatchBookmarks"] == "true"
    assert 300 <= int(query["timeoutSeconds"]) <= 600


@pytest.mark.parametrize("gone", [error(410, "Expired"), error(410, "Gone"), 410])
async def test_gone_lists_again_and_drops_what_is_no_more(run: Run, gone: Any) -> None:
    run.stub.items = [pod("a", 5), pod("b", 6)]

    def change() -> None:
        run.stub.items, run.stub.version = [pod("b", 6), pod("c", 20)], "30"

    run.stub.watches = [[gone], []]
    task = asyncio.create_task(run._watcher.run())
    while not run.store.synced:  # noqa: ASYNC110
        await asyncio.sleep(0)
    change()
    async with asyncio.timeout(5):
        while len(run.stub.watched_from()) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert run.stub.watched_from() == ["10", "30"]
    assert run.names == ["b", "c"]
    gone_names = [item.old["metadata"]["name"] for item in run.events if item.new is None and item.old]
    assert gone_names == ["a"]


async def test_other_errors_wait_and_resume(run: Run) -> None:
    run.stub.items = [pod("a", 5)]
    run.stub.watches = [[error(500, "InternalError")], [403], [error(500, "InternalError")], []]
    await run.until(4)
    assert run.stub.watched_from() == ["10"] * 4
    assert run.names == ["a"]
    assert len([query for query in run.stub.requests if "watch" not in query]) == 1
    assert len(run.pauses) == 3
    assert run.pauses[0] <= 0.1
    assert run.pauses[-1] > run.pauses[0]


async def test_watches_that_end_at_once_do_not_turn_in_a_circle(run: Run) -> None:
    run.stub.watches = [[END], [END], [END], []]
    await run.until(4)
    assert len(run.pauses) == 3


async def test_silence_is_no_failure(stub: StubApi, client: Client) -> None:
    stub.items = [pod("a", 5)]
    run = Run(stub, client, silence=0.05)
    await run.until(7)
    assert run.pauses == []
    assert set(stub.watched_from()) == {"10"}


async def test_a_long_silence_leads_to_a_list(
    stub: StubApi, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restore of etcd, versions start again below the last one: nothing would ever come."""
    monkeypatch.setattr("pgoperator.kube.watch.RELIST", 3)
    run = Run(stub, client, silence=0.05)
    await run.until(8)
    kinds = ["watch" if "watch" in query else "list" for query in stub.requests]
    assert kinds[:8] == ["list", *["watch"] * 3, "list", *["watch"] * 3]
    assert run.pauses == []


STRANGE: list[Any] = [
    {"maintenance": True},
    [],
    {"type": "ADDED", "object": None},
    {"type": "ADDED", "object": {"metadata": {"resourceVersion": "11"}}},
    {"type": "BOOKMARK", "object": {}},
    {"type": "ERROR", "object": {"code": "many"}},
]


@pytest.mark.parametrize("strange", STRANGE, ids=str)
async def test_json_of_another_program_is_survived(run: Run, strange: Any) -> None:
    run.stub.watches = [[strange, END], [event("ADDED", "b", 11)]]
    await run.until(2)
    assert run.names == ["b"]


@pytest.mark.parametrize("items", [[None], [{}], {"a": 1}, [{"metadata": {}}]], ids=str)
async def test_a_list_of_another_program_is_survived(run: Run, items: Any) -> None:
    run.stub.items = items
    task = asyncio.create_task(run._watcher.run())
    async with asyncio.timeout(5):
        while len(run.stub.requests) < 3:
            assert not task.done(), task
            await asyncio.sleep(0.005)
        assert not run.shard.synced
        run.stub.items = [pod("a", 5)]
        while not run.shard.synced:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert run.names == ["a"]


async def test_an_object_that_cannot_be_processed_does_not_end_the_watch(
    stub: StubApi, client: Client
) -> None:
    run = Run(stub, client)

    def deliver(event: Event) -> None:
        if event.new and event.new["metadata"]["name"] == "bad":
            raise ValueError("toy")

    run._watcher._deliver = deliver
    stub.watches = [[event("ADDED", "bad", 11)], [event("ADDED", "b", 12)]]
    stub.items = [pod("a", 5)]
    await run.until(2)
    assert "b" in run.names


async def test_a_watch_that_fails_is_reported_with_its_namespace_each_minute(run: Run) -> None:
    """One namespace without a RoleBinding keeps the operator from leading: its log must show the cause."""
    run.stub.refusal = 403
    task = asyncio.create_task(run._watcher.run())
    with structlog.testing.capture_logs() as lines:
        async with asyncio.timeout(10):
            while sum(run.pauses) < 200:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    assert run.store.unsynced() == ["Pod in namespace ns (Forbidden)"]
    warnings = [line for line in lines if line["log_level"] == "warning"]
    assert 3 <= len(warnings) <= sum(run.pauses) / 60 + 1
    assert {line["namespace"] for line in warnings} == {"ns"}
    run.stub.refusal = 0
    async with asyncio.timeout(10):
        while not run.shard.synced:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert run.store.unsynced() == []
    assert run.shard.problem == ""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
