"""Finalizers of the user delete only objects that the operator created or named."""

from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.kube import kinds
from pgoperator.kube.apply import APPLIED_HASH
from pgoperator.kube.client import Client
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.lifecycle import act_deletion
from tests.api.test_endings import World
from tests.support.views import cluster_manifest
from tests.unit.pgcluster.observed import claim

pytestmark = pytest.mark.api

INSTANCE = next(naming.instance_names("cluster1", "instance1"))
OWN = labels.instance("cluster1", "instance1", INSTANCE)
APP = labels.pguser("cluster1", "app")
VOLUMES = {
    naming.instance_volume(INSTANCE): OWN | {labels.ROLE: labels.ROLE_PGDATA},
    naming.wal_volume(INSTANCE): OWN | {labels.ROLE: labels.ROLE_PGWAL},
    naming.tablespace_volume(INSTANCE, "fast"): OWN
    | {labels.ROLE: labels.ROLE_TABLESPACE, labels.DATA: "fast"},
    naming.repo_volume("cluster1", "repo1"): {labels.PGBACKREST_REPO: "repo1"},
}
THEIR_VOLUMES = {
    "dumps": {},
    "copy-of-data": OWN | {labels.ROLE: labels.ROLE_PGDATA},
    "copy-of-repo": {labels.PGBACKREST_REPO: "repo1"},
    "brought-for-a-sidecar": {labels.ROLE: labels.ROLE_SIDECAR},
}
PASSWORDS = {naming.user_secret("cluster1", "app"): APP}
CERTIFICATES = {
    naming.cluster_ca("cluster1"): {},
    naming.cluster_certificate("cluster1"): {labels.CERTIFICATE: "postgres-tls"},
    naming.replication_certificate("cluster1"): {},
    naming.pgbackrest("cluster1"): {},
    naming.pgbouncer("cluster1"): {},
    naming.instance_certificates(INSTANCE): OWN,
}
THEIR_SECRETS = {
    "s3-keys": {},
    "my-certs": OWN,
    "my-password": APP,
    "cluster1-custom-cert": {labels.CERTIFICATE: "postgres-tls"},
}


def secret(name: str, own: dict[str, str], **annotations: str) -> Manifest:
    metadata = {"name": name, "labels": labels.of_cluster("cluster1") | own, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}


async def ending(client: Client, namespace: str, *finalizers: str, **spec: Any) -> PGCluster:
    """A cluster that is being deleted, stored with these finalizers."""
    manifest = cluster_manifest(**spec)
    metadata = {"name": "cluster1", "namespace": namespace, "finalizers": [labels.FINALIZER, *finalizers]}
    await client.create(manifest | {"metadata": metadata})
    await client.delete(kinds.PG_CLUSTER, namespace, "cluster1", uid=None)
    return PGCluster.parse(await client.get(kinds.PG_CLUSTER, namespace, "cluster1"))


@pytest.fixture
async def world(client: Client, namespace: str, crds: None) -> World:
    world = World(client, namespace)
    everything = (VOLUMES | THEIR_VOLUMES).items()
    await world.create(*(claim(name, labels.of_cluster("cluster1") | own) for name, own in everything))
    made = claim("for-sidecars", labels.of_cluster("cluster1") | {labels.ROLE: labels.ROLE_SIDECAR})
    made["metadata"]["annotations"] = {APPLIED_HASH: "x"}
    await world.create(made, claim("theirs", labels.of_cluster("another")))
    secrets = PASSWORDS | CERTIFICATES | THEIR_SECRETS
    await world.create(*(secret(name, own) for name, own in secrets.items()))
    await world.create(secret("named-by-the-author", APP, **{labels.GENERATED: "true"}))
    return world


ALL_VOLUMES = {*VOLUMES, *THEIR_VOLUMES, "for-sidecars", "theirs"}
ALL_SECRETS = {*PASSWORDS, *CERTIFICATES, *THEIR_SECRETS, "named-by-the-author"}
PVC, SSL = labels.FINALIZER_DELETE_PVC, labels.FINALIZER_DELETE_SSL
OUR_VOLUMES, OUR_PASSWORDS = {*VOLUMES, "for-sidecars"}, {*PASSWORDS, "named-by-the-author"}


@pytest.mark.parametrize(
    ("finalizers", "volumes", "secrets"),
    [
        ((), set(), set()),
        ((PVC,), OUR_VOLUMES, OUR_PASSWORDS),
        ((SSL,), set(), {*CERTIFICATES}),
        ((PVC, SSL), OUR_VOLUMES, OUR_PASSWORDS | {*CERTIFICATES}),
    ],
)
async def test_only_what_the_operator_made_goes_and_only_if_it_is_asked_for(
    world: World, finalizers: tuple[str, ...], volumes: set[str], secrets: set[str]
) -> None:
    one = await ending(world.client, world.namespace, *finalizers)
    await act_deletion.delete(await world.context(), one)
    assert {*await world.names(kinds.PVC)} == ALL_VOLUMES - volumes
    assert {*await world.names(kinds.SECRET)} == ALL_SECRETS - secrets


async def test_a_finalizer_that_was_taken_back_deletes_nothing(world: World) -> None:
    """The watch has not delivered the object yet."""
    one = await ending(world.client, world.namespace, PVC, SSL)
    patch = {"metadata": {"finalizers": [labels.FINALIZER]}}
    await world.client.merge_patch(kinds.PG_CLUSTER, world.namespace, "cluster1", patch)
    await act_deletion._delete_owned(await world.context(), one)
    assert {*await world.names(kinds.PVC)} == ALL_VOLUMES
    assert {*await world.names(kinds.SECRET)} == ALL_SECRETS


@pytest.mark.parametrize(
    "spec",
    [
        {"tls": {"certManagementPolicy": "userProvidedOnly"}},
        {"secrets": {"customTLSSecret": {"name": naming.cluster_certificate("cluster1")}}},
    ],
)
async def test_certificates_that_the_author_made_stay_under_whatever_name(
    world: World, spec: dict[str, object]
) -> None:
    one = await ending(world.client, world.namespace, SSL, **spec)
    await act_deletion.delete(await world.context(), one)
    assert naming.cluster_certificate("cluster1") in await world.names(kinds.SECRET)
