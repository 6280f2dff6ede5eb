"""Volume claims against a real API server: grown, never shrunk, never taken from another owner."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from pgoperator import labels
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.apply import Applier, ForeignOwner
from pgoperator.kube.client import Client
from pgoperator.kube.events import Recorder
from pgoperator.kube.manifest import Manifest, name_of
from pgoperator.kube.store import Store
from pgoperator.settings import Settings
from reconcilers.pgcluster.instances import act_claims
from reconcilers.pgcluster.instances import conditions as instance_conditions
from reconcilers.pgcluster.state import superseded
from reconcilers.pgcluster.state.view import Observed

pytestmark = pytest.mark.api

Make = Callable[..., Manifest]


@pytest.fixture
def make(namespace: str) -> Make:
    """Create a claim of cluster `c`."""

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
    """One pass over claims with an up-to-date store; returns reasons and messages of problems."""
    store = Store(labels.CLUSTER)
    [first, *_] = wanted
    shard = store.open(kinds.PVC, None)
    found, _ = await client.list(kinds.PVC, first["metadata"]["namespace"], labels=labels.CLUSTER)
    for one in found:
        shard.put({"apiVersion": "v1", "kind": "PersistentVolumeClaim", **one})
    ctx = context_of(client, store)
    return [(p.reason, p.message) for p in await act_claims.apply(ctx, wanted)]


def context_of(client: Client, store: Store) -> Context:
    clock = partial(datetime.now, UTC)
    return Context(client, store, Applier(client, store), Recorder(client), Settings(), clock)


async def test_less_than_there_is_leaves_the_claim_as_it_is(
    client: Client, namespace: str, make: Make
) -> None:
    assert await passed(client, make("2Gi")) == []
    [(reason, message)] = await passed(client, make("1Gi"))
    assert (reason, message) == (
        "VolumeShrinks",
        "volume claim data cannot shrink from 2Gi to 1Gi: it keeps its size",
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
    assert "volume claim data cannot be expanded from 1Gi to 2Gi: " in message
    await client.get(kinds.PVC, namespace, "other")


async def test_a_claim_without_a_volume_gets_the_corrected_storage_class(
    client: Client, namespace: str, make: Make
) -> None:
    await passed(client, make("1Gi", storageClassName="fsat"))
    [(reason, message)] = await passed(client, make("1Gi", storageClassName="fast"))
    assert reason == "VolumeReplaced"
    assert "data is created again, because its storage class changes from fsat to fast" in message
    # What the controller of Kubernetes does when no pod uses the claim.
    await client.merge_patch(kinds.PVC, namespace, "data", {"metadata": {"finalizers": None}})
    assert await passed(client, make("1Gi", storageClassName="fast")) == []
    live = await client.get(kinds.PVC, namespace, "data")
    assert live["spec"]["storageClassName"] == "fast"


async def test_a_claim_with_a_volume_keeps_its_storage_class(
    client: Client, namespace: str, make: Make
) -> None:
    await passed(client, make("1Gi", volumeName="pv-1"))
    before = await client.get(kinds.PVC, namespace, "data")
    [(reason, message)] = await passed(client, make("1Gi", volumeName="pv-1", storageClassName="fast"))
    assert reason == "VolumeRefused"
    assert "the storage class of volume claim data cannot change from fixed to fast: set it back" in message
    live = await client.get(kinds.PVC, namespace, "data")
    assert live["metadata"]["uid"] == before["metadata"]["uid"]
    assert "deletionTimestamp" not in live["metadata"]


@pytest.mark.parametrize("role", [labels.ROLE_SIDECAR, labels.ROLE_PGDATA])
@pytest.mark.parametrize("own", [{}, labels.of_cluster("other")])
async def test_a_claim_of_somebody_else_is_not_taken_over(
    client: Client, namespace: str, make: Make, role: str, own: dict[str, str]
) -> None:
    foreign = make("1Gi", "notes")
    foreign["metadata"]["labels"] = own
    await client.create(foreign)
    before = await client.get(kinds.PVC, namespace, "notes")
    with pytest.raises(ForeignOwner, match="notes"):
        await passed(client, make("1Gi", "notes", role))
    assert await client.get(kinds.PVC, namespace, "notes") == before


async def test_a_claim_that_the_cluster_left_is_used_again(
    client: Client, namespace: str, make: Make
) -> None:
    left = make("1Gi", "left")
    left["metadata"]["labels"] = labels.of_cluster("c")
    await client.create(left)
    assert await passed(client, make("1Gi", "left")) == []
    live = await client.get(kinds.PVC, namespace, "left")
    assert live["metadata"]["labels"][labels.ROLE] == labels.ROLE_PGDATA


async def test_what_is_under_way_is_told(client: Client, make: Make) -> None:
    claim = make("1Gi")
    claim["status"] = {"conditions": [{"type": "FileSystemResizePending", "status": "True"}]}
    [condition] = instance_conditions.volumes([claim])
    assert condition.reason == "FileSystemResizePending"
    assert condition.message.startswith("volume claim data: ")


async def test_a_restore_marks_the_volumes_without_an_instance(client: Client, make: Make) -> None:
    """The mark of an instance goes when its data is authoritative."""
    claims = {name: make("1Gi", f"{name}-pgdata") for name in ("c-a-used", "c-a-left")}
    for claim in claims.values():
        await client.create(claim)
    namespace = claims["c-a-used"]["metadata"]["namespace"]
    context = context_of(client, Store(labels.CLUSTER))

    async def observed() -> Observed:
        found, _ = await client.list(kinds.PVC, namespace, labels=labels.CLUSTER)
        return Observed(volumes=tuple(found))

    async def marked() -> set[str]:
        return {name_of(claim) for claim in (await observed()).volumes if superseded.is_superseded(claim)}

    await superseded.mark(context, namespace, await observed(), {"c-a-used"}, "restore1")
    assert await marked() == {"c-a-left-pgdata"}
    before = await observed()
    await superseded.mark(context, namespace, before, {"c-a-used"}, "restore2")
    assert await observed() == before, "an earlier mark stays"
    await superseded.clear(context, namespace, before, "c-a-left")
    assert await marked() == set()
