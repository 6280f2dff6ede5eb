"""An object of any depth passes the watch and the store, and those around it as well."""

import json
from typing import Any

import orjson
import pytest

from pgoperator.kube.client import Client
from pgoperator.kube.kinds import PG_CLUSTER, POD
from pgoperator.kube.manifest import Manifest
from pgoperator.kube.store import Store
from tests.support.stub_api import StubApi
from tests.unit.kube.test_watch import END, Run, client, event, pod, run, stub

__all__ = ["client", "run", "stub"]


def deep(manifest: dict[str, Any], levels: int) -> dict[str, Any]:
    """Add so many maps in each other."""
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return manifest | {"spec": value}


def text_of(document: Any, levels: int) -> bytes:
    """JSON of a document whose value "DEEP" is nested; `json` itself cannot write it."""
    return json.dumps(document).encode().replace(b'"DEEP"', b'{"a":' * levels + b"1" + b"}" * levels)


@pytest.mark.parametrize("levels", [100, 253, 300, 900])
def test_the_store_holds_an_object_of_any_depth(levels: int) -> None:
    store = Store()
    shard = store.open(PG_CLUSTER, None)
    changed = shard.put(deep(pod("deep", 5), levels))
    assert changed is not None
    assert changed.new == store.get(PG_CLUSTER, "ns", "deep")
    orjson.dumps(changed.new)


class Raw(StubApi):
    """Sends objects that `json` cannot write."""

    levels = 0

    def dumps(self, document: Any) -> str:
        return text_of(document, self.levels).decode()


@pytest.mark.parametrize("levels", [300, 1020, 1100, 9000])
async def test_a_deep_object_in_a_list_or_a_watch_hides_nobody(levels: int) -> None:
    stub = Raw()
    stub.levels = levels
    client = Client(await stub.start())
    run = Run(stub, client)
    stub.items = [pod("a", 5), pod("deep", 6) | {"spec": "DEEP"}, pod("b", 7)]
    added = event("ADDED", "deep2", 11)
    added["object"]["spec"] = "DEEP"
    stub.watches = [[added, event("ADDED", "c", 12), END], []]
    await run.until(2)
    assert run.names == ["a", "b", "c", "deep", "deep2"]
    assert run.pauses == []
    assert stub.watched_from() == ["10", "12"]
    await client.close()
    await stub.stop()


async def test_an_object_that_cannot_be_stored_ends_nothing(run: Run, monkeypatch: Any) -> None:
    put = type(run.shard).put

    def fail(shard: Any, manifest: Manifest, *, initial: bool = False) -> Any:
        if manifest["metadata"]["name"] == "odd":
            raise MemoryError
        return put(shard, manifest, initial=initial)

    monkeypatch.setattr(type(run.shard), "put", fail)
    run.stub.items = [pod("odd", 5), pod("a", 6)]
    run.stub.watches = [[event("ADDED", "odd", 11), event("ADDED", "b", 12), END], []]
    await run.until(2)
    assert run.names == ["a", "b"]


async def test_a_watcher_never_ends(run: Run) -> None:
    run.stub.items = [pod("a", 5)]
    run.stub.watches = [[{"type": "ADDED", "object": []}, END], [event("ADDED", "b", 12), END], []]
    await run.until(3)
    assert run.names == ["a", "b"]
    assert run.shard.kind == POD
