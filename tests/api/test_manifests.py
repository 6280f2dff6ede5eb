"""A real API server accepts the objects of the steps for any spec, and Pod Security admits the pods."""

import asyncio
import copy
import json

import pytest

from pgoperator.kube import kinds
from pgoperator.kube.client import Client
from pgoperator.kube.errors import Forbidden
from pgoperator.kube.manifest import Manifest
from pgoperator.kube.transport import Request
from reconcilers.pgcluster import pipeline
from tests.support.views import view
from tests.unit.pgcluster.specs import SEEDS, VARIANTS, Spec, random_cluster

pytestmark = pytest.mark.api
CLUSTERS: dict[str, tuple[str, Spec]] = {name: ("cluster1", spec) for name, spec in VARIANTS.items()} | {
    f"random-{seed}": random_cluster(seed) for seed in SEEDS[:8]
}


async def try_(client: Client, manifest: Manifest, namespace: str) -> None:
    """Send the object as a dry run."""
    manifest["metadata"]["namespace"] = namespace
    kind = kinds.kind_of(manifest)
    query = {"dryRun": "All", "fieldValidation": "Strict"}
    await client.transport.json(
        Request("POST", kind.path(namespace), "POST", query, json.dumps(manifest).encode(), idempotent=False)
    )


def pods(manifests: list[Manifest]) -> list[Manifest]:
    """A pod of each template, without the user's PriorityClass, which does not exist here."""
    result: list[Manifest] = []
    for manifest in manifests:
        if "template" in manifest.get("spec", {}):
            template = copy.deepcopy(manifest["spec"]["template"])
            template["spec"].pop("priorityClassName", None)
            template["metadata"]["name"] = manifest["metadata"]["name"]
            result.append({"apiVersion": "v1", "kind": "Pod", **template})
    return result


@pytest.fixture
async def restricted(client: Client, namespace: str) -> str:
    """A namespace in which the restricted standard is enforced."""
    own = {"pod-security.kubernetes.io/enforce": "restricted"}
    body = json.dumps({"metadata": {"labels": own}}).encode()
    await client.transport.json(
        Request(
            "PATCH",
            f"/api/v1/namespaces/{namespace}",
            "PATCH",
            body=body,
            content_type="application/merge-patch+json",
        )
    )
    return namespace


@pytest.mark.parametrize("which", CLUSTERS)
async def test_the_server_takes_every_object_and_every_pod(
    client: Client, restricted: str, which: str
) -> None:
    name, spec = CLUSTERS[which]
    manifests = pipeline.build(view(name=name, **spec)).manifests
    for binding in (m for m in manifests if m["kind"] == "RoleBinding"):
        for subject in binding["subjects"]:
            subject["namespace"] = restricted
    await asyncio.gather(*(try_(client, one, restricted) for one in (*manifests, *pods(manifests))))


async def test_the_namespace_refuses_what_the_standard_forbids(client: Client, restricted: str) -> None:
    """The test above depends on this."""
    [pod, *_] = pods(pipeline.build(view()).manifests)
    pod["spec"]["hostNetwork"] = True
    with pytest.raises(Forbidden, match="PodSecurity"):
        await try_(client, pod, restricted)
