"""The store stays correct despite faults between the operator and a real API server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from local.control_plane import Handle
from pgoperator.kube.client import Client
from pgoperator.kube.kinds import CONFIG_MAP
from pgoperator.kube.manifest import Manifest
from pgoperator.kube.store import Event, Store
from pgoperator.kube.watch import Watcher
from tests.api.conftest import audit, compact, eventually
from tests.support.proxy import TcpProxy

pytestmark = pytest.mark.api


def config_map(namespace: str, name: str, **data: str) -> Manifest:
    meta = {"name": name, "namespace": namespace, "labels": {"test": "yes"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


class Seen:
    """A store with its watcher, and the events as text."""

    def __init__(self, client: Client, namespace: str, *, silence: float = 70) -> None:
        self.store = Store("test")
        self.events: list[str] = []
        self.namespace = namespace
        shard = self.store.open(CONFIG_MAP, namespace)
        self.watcher = Watcher(client, shard, self._note, selector="test=yes", silence=silence)

    def _note(self, event: Event) -> None:
        word = "changed" if event.old and event.new else "added" if event.new else "gone"
        self.events.append(f"{word} {(event.new or event.old)['metadata']['name']}")  # type: ignore[index]

    @property
    def names(self) -> list[str]:
        return [key.name for key in self.store.keys(CONFIG_MAP)]

    def has(self, *names: str) -> Callable[[], bool]:
        return lambda: self.store.synced and self.names == sorted(names)


@asynccontextmanager
async def watching(client: Client, namespace: str, *, silence: float = 70) -> AsyncIterator[Seen]:
    seen = Seen(client, namespace, silence=silence)
    task = asyncio.create_task(seen.watcher.run())
    try:
        await eventually(lambda: seen.store.synced, "first list")
        yield seen
    finally:
        assert not task.done(), task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_first_list_and_changes_reach_the_store(client: Client, namespace: str) -> None:
    await client.create(config_map(namespace, "before"))
    stranger = config_map(namespace, "stranger")
    del stranger["metadata"]["labels"]
    await client.create(stranger)
    async with watching(client, namespace) as seen:
        assert seen.names == ["before"]
        await client.create(config_map(namespace, "after", a="1"))
        await eventually(seen.has("after", "before"), "created")
        await client.merge_patch(CONFIG_MAP, namespace, "after", {"data": {"a": "2"}})
        await eventually(lambda: "changed after" in seen.events, "changed")
        stored = seen.store.get(CONFIG_MAP, namespace, "after")
        assert stored is not None
        assert stored["data"] == {"a": "2"}
        assert stored["apiVersion"] == "v1"
        assert "managedFields" not in stored["metadata"]
        # An object that no longer matches the selector counts as deleted.
        await client.merge_patch(CONFIG_MAP, namespace, "before", {"metadata": {"labels": None}})
        await client.delete(CONFIG_MAP, namespace, "after", uid=None)
        await eventually(seen.has(), "gone")
    assert seen.events == ["added before", "added after", "changed after", "gone before", "gone after"]


async def test_connection_cut_goes_on_without_listing(
    client: Client, wired: Client, proxy: TcpProxy, namespace: str, control_plane: Handle
) -> None:
    async with watching(wired, namespace) as seen:
        proxy.refuse()
        await client.create(config_map(namespace, "meanwhile"))
        proxy.serve()
        await eventually(seen.has("meanwhile"), "resumed")
    lists = [entry for entry in audit(control_plane, namespace) if entry[:2] == ("list", "configmaps")]
    assert len(lists) == 1


async def test_silence_ends_a_dead_connection(
    client: Client, wired: Client, proxy: TcpProxy, namespace: str
) -> None:
    async with watching(wired, namespace, silence=0.5) as seen:
        before = proxy.accepted
        proxy.stall()
        await client.create(config_map(namespace, "unheard"))
        await asyncio.sleep(0.3)
        assert seen.names == []
        await eventually(lambda: proxy.accepted > before, "a new connection is tried")
        proxy.serve()
        await eventually(seen.has("unheard"), "heard")


async def test_compaction_leads_to_a_new_list(
    client: Client, wired: Client, proxy: TcpProxy, namespace: str, control_plane: Handle
) -> None:
    await client.create(config_map(namespace, "old"))
    async with watching(wired, namespace) as seen:
        proxy.refuse()
        await client.delete(CONFIG_MAP, namespace, "old", uid=None)
        await client.create(config_map(namespace, "new"))
        compact(control_plane)
        # A new process has no watch cache of compacted revisions.
        await asyncio.to_thread(control_plane.kill_apiserver)
        await asyncio.to_thread(control_plane.start_apiserver)
        proxy.serve()
        await eventually(seen.has("new"), "listed again", 30)
        assert sorted(seen.events[1:]) == ["added new", "gone old"]


async def test_server_away_keeps_the_store_and_comes_back(
    client: Client, namespace: str, control_plane: Handle
) -> None:
    await client.create(config_map(namespace, "kept"))
    async with watching(client, namespace) as seen:
        await asyncio.to_thread(control_plane.kill_apiserver)
        await asyncio.sleep(1)
        assert seen.names == ["kept"]
        await asyncio.to_thread(control_plane.start_apiserver)
        await client.create(config_map(namespace, "later"))
        await eventually(seen.has("kept", "later"), "back")
    assert seen.events == ["added kept", "added later"]


async def test_error_while_listing_is_never_empty(
    client: Client, wired: Client, proxy: TcpProxy, namespace: str
) -> None:
    await client.create(config_map(namespace, "there"))
    proxy.refuse()
    seen = Seen(wired, namespace)
    task = asyncio.create_task(seen.watcher.run())
    await asyncio.sleep(1)
    assert not seen.store.synced
    (missing,) = seen.store.unsynced()
    assert missing.startswith(f"ConfigMap in namespace {namespace}")
    assert not task.done()
    proxy.serve()
    await eventually(seen.has("there"), "listed")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_long_lists_come_in_pages(
    client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgoperator.kube.client.PAGE", 2)
    names = [f"m{number}" for number in range(5)]
    for name in names:
        await client.create(config_map(namespace, name))
    items, version = await client.list(CONFIG_MAP, namespace, labels="test=yes")
    assert [item["metadata"]["name"] for item in items] == names
    assert all(item["kind"] == "ConfigMap" and item["apiVersion"] == "v1" for item in items)
    assert int(version) > 0
