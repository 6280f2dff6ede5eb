"""Volume claims against a real API server: grown, never shrunk, never taken from somebody else."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from pgoperator import labels
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.apply import Applier, ForeignOwner
from pgoperator.kube.client import Client
from pgoperator.kube.events import Recorder
from pgoperator.kube.manifest import Manifest
from pgoperator.kube.store import Store
from pgoperator.settings import Settings
from reconcilers.pgcluster import claims

pytestmark = pytest.mark.api

Make = Callable[..., Manifest]


@pytest.fixture
def make(namespace: str) -> Make:
    """Make a claim of cluster `c`."""

    def claim(size: str, name: str = "data", role: str = labels.ROLE_PGDATA, **spec: Any) -> Manifest:
        own = labels.of_cluster("c") | {labels.ROLE: role}
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace, "labels": own},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": size}},
                "storageClassName": "fixed",
                **spec,
            },
        }

    return claim


async def passed(client: Client, *wanted: Manifest) -> list[tuple[str, str]]:
    """One pass over claims, with a store that is up to date; reasons and messages of what was wrong."""
    store = Store(labels.CLUSTER)
    [first, *_] = wanted
    shard = store.open(kinds.PVC, None)
    found, _ = await client.list(kinds.PVC, first["metadata"]["namespace"], labels=labels.CLUSTER)
    for one in found:
        shard.put({"apiVersion": "v1", "kind": "PersistentVolumeClaim", **one})
    ctx = Context(
        client,
        store,
        Applier(client, store),
        Recorder(client),
        Settings(),
        lambda: datetime.now(UTC),
    )
    return [(p.reason, p.message) for p in await claims.apply(ctx, wanted)]


async def test_less_than_there_is_leaves_the_claim_as_it_is(
    client: Client, namespace: str, make: Make
) -> None:
    assert await passed(client, make("2Gi")) == []
    [(reason, message)] = await passed(client, make("1Gi"))
    assert (reason, message) == (
        "VolumeShrinks",
        "volume claim data cannot shrink from 2Gi to 1Gi: it stays as it is",
    )
    live = await client.get(kinds.PVC, namespace, "data")
    assert live["spec"]["resources"]["requests"]["storage"] == "2Gi"
    assert await passed(client, make("2048Mi")) == []


async def test_a_storage_class_that_cannot_grow_says_so_and_the_others_go_on(
    client: Client, namespace: str, make: Make
) -> None:
    await passed(client, make("1Gi"))
    [(reason, message)] = await passed(client, make("2Gi"), make("1Gi", "other"))
    assert reason == "VolumeRefused"
    assert "volume claim data cannot grow from 1Gi to 2Gi: " in message
    await client.get(kinds.PVC, namespace, "other")


async def test_a_claim_of_somebody_else_is_not_taken_for_a_sidecar(
    client: Client, namespace: str, make: Make
) -> None:
    foreign = make("1Gi", "notes")
    foreign["metadata"]["labels"] = {}
    await client.create(foreign)
    with pytest.raises(ForeignOwner, match="notes"):
        await passed(client, make("1Gi", "notes", labels.ROLE_SIDECAR))
    live = await client.get(kinds.PVC, namespace, "notes")
    assert labels.CLUSTER not in live["metadata"].get("labels", {})


async def test_what_is_under_way_is_told(client: Client, make: Make) -> None:
    claim = make("1Gi")
    claim["status"] = {"conditions": [{"type": "FileSystemResizePending", "status": "True"}]}
    [(reason, message)] = claims.resizing([claim])
    assert reason == "FileSystemResizePending"
    assert message.startswith("volume claim data: ")
