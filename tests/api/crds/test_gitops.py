"""A tool that applies a cluster again and again, and the operator: neither undoes what the other wrote."""

import pytest

from pgoperator import labels
from pgoperator.api import Manifest
from pgoperator.kube import kinds
from pgoperator.kube.client import Client
from tests.api.conftest import apply
from tests.support.views import cluster_manifest

pytestmark = pytest.mark.api


def wanted(namespace: str, *finalizers: str) -> Manifest:
    manifest = cluster_manifest()
    manifest["metadata"] = {"name": "cluster1", "namespace": namespace}
    if finalizers:
        manifest["metadata"]["finalizers"] = [*finalizers]
    return manifest


async def hold(client: Client, namespace: str) -> None:
    """Add the finalizer as the operator does."""
    live = await client.get(kinds.PG_CLUSTER, namespace, "cluster1")
    both = [*live["metadata"].get("finalizers", []), labels.FINALIZER]
    await client.merge_patch(kinds.PG_CLUSTER, namespace, "cluster1", {"metadata": {"finalizers": both}})


@pytest.mark.parametrize("finalizers", [(), (labels.FINALIZER_DELETE_PVC,)])
async def test_a_server_side_apply_keeps_the_finalizer_and_changes_nothing(
    client: Client, namespace: str, crds: None, finalizers: tuple[str, ...]
) -> None:
    path = kinds.PG_CLUSTER.path(namespace, "cluster1")
    await apply(client, path, wanted(namespace, *finalizers))
    await hold(client, namespace)
    status = {"status": {"state": "ready", "observedGeneration": 1}}
    await client.apply_status(wanted(namespace) | status)
    before = await client.get(kinds.PG_CLUSTER, namespace, "cluster1")
    assert set(before["metadata"]["finalizers"]) == {*finalizers, labels.FINALIZER}
    after = await apply(client, path, wanted(namespace, *finalizers))
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_a_client_side_apply_of_finalizers_takes_that_of_the_operator_away(
    client: Client, namespace: str, crds: None
) -> None:
    """Why docs/howto/gitops.md wants server-side apply: a merge replaces a list."""
    await apply(client, kinds.PG_CLUSTER.path(namespace, "cluster1"), wanted(namespace))
    await hold(client, namespace)
    patch = {"metadata": {"finalizers": [labels.FINALIZER_DELETE_PVC]}}
    await client.merge_patch(kinds.PG_CLUSTER, namespace, "cluster1", patch)
    live = await client.get(kinds.PG_CLUSTER, namespace, "cluster1")
    assert live["metadata"]["finalizers"] == [labels.FINALIZER_DELETE_PVC]
