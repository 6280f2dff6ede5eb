"""A real API server accepts each sample, and all objects that the operator makes from it."""

import copy

import pytest

from pgoperator.api import KINDS, Manifest
from pgoperator.kube import kinds
from pgoperator.kube.client import Client
from reconcilers.pgcluster import pipeline
from tests.api.conftest import send
from tests.api.crds.conftest import Create
from tests.support.examples import FILES, clusters, objects, seen

pytestmark = pytest.mark.api

CLUSTERS = clusters()
OWN = {kind.NAMES.kind for kind in KINDS}


async def try_(client: Client, manifest: Manifest, namespace: str) -> None:
    """Have the server check an object of Kubernetes' own kinds, without storing it."""
    manifest = copy.deepcopy(manifest)
    manifest["metadata"]["namespace"] = namespace
    for subject in manifest.get("subjects", ()):
        subject["namespace"] = namespace
    path = kinds.kind_of(manifest).path(namespace)
    await send(client, "POST", path, manifest, dryRun="All", fieldValidation="Strict")


@pytest.mark.parametrize("name", FILES)
async def test_a_sample_is_accepted(client: Client, create: Create, namespace: str, name: str) -> None:
    for one in objects(name):
        if one["kind"] in OWN:
            stored = await create(one)
            assert stored["metadata"]["name"] == one["metadata"]["name"]
        else:
            await try_(client, one, namespace)


@pytest.mark.parametrize("name", CLUSTERS)
async def test_what_the_operator_makes_of_a_sample_is_accepted(
    client: Client, namespace: str, name: str
) -> None:
    answers = pipeline.build(seen(CLUSTERS[name]))
    assert answers.complete, answers
    for manifest in answers.manifests:
        await try_(client, manifest, namespace)


async def test_all_samples_fit_into_one_namespace(client: Client, create: Create, namespace: str) -> None:
    for name in FILES:
        for one in objects(name):
            if one["kind"] in OWN:
                await create(one, dry=False)
            else:
                path = kinds.kind_of(one).path(namespace)
                await send(client, "POST", path, one, fieldValidation="Strict")
