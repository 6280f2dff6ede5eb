"""What a watch does with words that a real server says seldom."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

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

    def __init__(self, stub: StubApi, client: Client) -> None:
        self.stub = stub
        self.store = Store()
        self.pauses: list[float] = []
        self.events: list[Event] = []
        self.shard = self.store.open(POD, "ns")
        self._watcher = Watcher(client, self.shard, self.events.append, silence=5, sleep=self._pause)

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def until(self, watches: int) -> None:
        """Run until so many watches have begun and everything scripted was read."""
        task = asyncio.create_task(self._watcher.run())
        async with asyncio.timeout(10):
            while len(self.stub.watched_from()) < watches or self.stub.watches:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    @property
    def names(self) -> list[str]:
        return [key.name for key in self.store.keys(POD)]


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    stub = StubApi()
    client = Client(await stub.start())
    yield Run(stub, client)
    await client.close()
    await stub.stop()


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
