"""Secrets of the user, read from a real API server: problems, and reactions to a change."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pgoperator import labels
from pgoperator.api.cluster import PGCluster
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.apply import Applier
from pgoperator.kube.client import Client
from pgoperator.kube.events import Recorder
from pgoperator.kube.manifest import Key, Manifest
from pgoperator.kube.store import Event, Store
from pgoperator.kube.watch import Watcher
from pgoperator.settings import Settings
from reconcilers.pgcluster.credentials import read_references, read_user_secrets
from reconcilers.pgcluster.credentials.read_user_secrets import UserSupplied
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.watches import watches
from tests.api.conftest import eventually
from tests.support.certificates import Authority
from tests.support.views import NOW, cluster_manifest

pytestmark = pytest.mark.api
CA = Authority.new("theirs", NOW)
STRANGER = Authority.new("stranger", NOW)
GOOD = CA.tls("cluster1-primary")


class World:
    """A namespace with Secrets of the user."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client, self.namespace = client, namespace

    async def secret(self, name: str, data: dict[str, str], **metadata: Any) -> None:
        body = {"name": name, "namespace": self.namespace, **metadata}
        await self.client.create({"apiVersion": "v1", "kind": "Secret", "metadata": body, "stringData": data})

    async def read(self, *, pooler: Manifest | None = None, **secrets: Any) -> UserSupplied:
        manifest = cluster_manifest(secrets=secrets, proxy={"pgBouncer": pooler or {}})
        manifest["metadata"]["namespace"] = self.namespace
        return await read_user_secrets.read(self.context(), PGCluster.parse(manifest), NOW)

    def context(self) -> Context:
        store, events = Store(labels.CLUSTER), Recorder(self.client)
        return Context(self.client, store, Applier(self.client, store), events, Settings(), lambda: NOW)

    async def reported(self, **secrets: Any) -> tuple[str, str]:
        """The only problem."""
        [problem] = (await self.read(**secrets)).problems
        return problem.reason, problem.message


@pytest.fixture
def world(client: Client, namespace: str) -> World:
    return World(client, namespace)


async def test_a_missing_pull_secret_is_named(world: World) -> None:
    await world.secret("there", {})
    manifest = cluster_manifest(imagePullSecrets=[{"name": "there"}, {"name": "absent"}])
    manifest["metadata"]["namespace"] = world.namespace
    cluster = PGCluster.parse(manifest)
    [problem] = await read_references.missing_pull_secrets(world.context(), cluster)
    assert problem.reason == "SecretMissing"
    assert problem.message.startswith("spec.imagePullSecrets[1]: Secret 'absent' does not exist")
    assert {"there", "absent"} <= read_references.secrets(cluster, (), backups_enabled=True)


async def test_what_is_sound_is_taken_under_the_names_that_we_expect(world: World) -> None:
    own = {"tls.crt": "chain.pem", "tls.key": "key.pem", "ca.crt": "ca.pem"}
    await world.secret("server", {own[key]: text for key, text in GOOD.items()})
    items = [{"key": key, "path": path} for path, key in own.items()]
    found = await world.read(customTLSSecret={"name": "server", "items": items})
    assert found.problems == ()
    assert found.server is not None
    assert found.server.data == {key: text.encode() for key, text in GOOD.items()}
    assert found.replication is None


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        ({"tls.crt": GOOD["tls.crt"], "tls.key": GOOD["tls.key"]}, "TLSSecretsMissing", "the key 'ca.crt'"),
        (GOOD | {"tls.key": CA.root["root.key"]}, "TLSSecretsInvalid", "does not match"),
        (CA.tls("other"), "TLSSecretsInvalid", "'cluster1-primary'"),
        (
            STRANGER.tls("cluster1-primary") | {"ca.crt": GOOD["ca.crt"]},
            "TLSSecretsInvalid",
            "not signed",
        ),
    ],
    ids=["lacking", "other key", "other name", "other authority"],
)
async def test_what_cannot_be_used_is_told(
    world: World, data: dict[str, str], reason: str, words: str
) -> None:
    await world.secret("server", data)
    found = await world.reported(customTLSSecret={"name": "server"})
    assert found[0] == reason
    assert found[1].startswith("spec.secrets.customTLSSecret")
    assert "'server'" in found[1]
    assert words in found[1]


async def test_what_is_not_there_is_told_unless_it_may_be_missing(world: World) -> None:
    reason, message = await world.reported(customTLSSecret={"name": "gone"})
    assert (reason, "Secret 'gone' does not exist" in message) == ("TLSSecretsMissing", True)
    found = await world.read(customTLSSecret={"name": "gone", "optional": True}, customRootCATLSSecret={})
    assert found == UserSupplied(trusted=())


async def test_items_that_do_not_lead_to_a_file_are_told(world: World) -> None:
    await world.secret("server", GOOD)
    items = [{"key": "tls.crt", "path": "tls.crt"}, {"key": "none", "path": "tls.key"}]
    _, message = await world.reported(customTLSSecret={"name": "server", "items": items})
    assert "no entry in items with the path 'ca.crt'" in message
    items.append({"key": "ca.crt", "path": "ca.crt"})
    _, message = await world.reported(customTLSSecret={"name": "server", "items": items})
    assert "lacks the key 'none'" in message


async def test_a_client_certificate_must_be_the_replicas(world: World) -> None:
    await world.secret("replication", CA.tls("someone"))
    _, message = await world.reported(customReplicationTLSSecret={"name": "replication"})
    assert "but must be '_crunchyrepl'" in message
    await world.secret("right", CA.tls("_crunchyrepl"))
    assert (await world.read(customReplicationTLSSecret={"name": "right"})).problems == ()


async def test_with_an_authority_of_the_author_s_its_certificate_need_not_be_repeated(world: World) -> None:
    await world.secret("root", CA.root)
    await world.secret("server", {key: GOOD[key] for key in ("tls.crt", "tls.key")})
    found = await world.read(customRootCATLSSecret={"name": "root"}, customTLSSecret={"name": "server"})
    assert found.problems == ()


async def test_accounts_and_authorities_of_the_pooler(world: World) -> None:
    await world.secret("accounts", {"app": "secret"})
    await world.secret("bad", {"_crunchypgbouncer": "x"})
    await world.secret("ca", {"ca.crt": GOOD["ca.crt"]})
    trusted = [{"name": "ca"}, {"name": "none"}]
    found = await world.read(pooler={"usersSecret": {"name": "accounts"}, "additionalTrustedCAs": trusted})
    assert found.accounts is not None
    assert found.accounts.data == {"app": b"secret"}
    [problem] = found.problems
    assert "spec.proxy.pgBouncer.additionalTrustedCAs[1]" in problem.message
    [problem] = (await world.read(pooler={"usersSecret": {"name": "bad"}})).problems
    assert problem.reason == "SecretInvalid"
    assert "_crunchypgbouncer" in problem.message


@pytest.fixture
async def heard(client: Client, namespace: str) -> AsyncIterator[list[Event]]:
    """The events of the operator's watch on the metadata of Secrets."""
    [one] = [one for one in watches({}) if one.kind == kinds.SECRET_METADATA]
    found: list[Event] = []
    shard = Store(labels.CLUSTER).open(one.kind, namespace, one.trim)
    watcher = Watcher(client, shard, found.append, selector=one.selector)
    task = asyncio.create_task(watcher.run())
    await eventually(lambda: shard.synced, "the first list is complete")
    yield found
    task.cancel()


async def test_changes_of_strangers_are_heard_without_what_is_in_them(
    world: World, heard: list[Event]
) -> None:
    await world.secret("ours", {"a": "b"}, labels={labels.CLUSTER: "cluster1"})
    await world.secret("theirs", {"password": "hidden"}, annotations={"applied": "hidden"})
    await world.client.merge_patch(
        kinds.SECRET, world.namespace, "theirs", {"stringData": {"password": "other"}}
    )
    await world.client.delete(kinds.SECRET, world.namespace, "theirs", uid=None)
    await eventually(lambda: len(heard) == 3, "it appears, changes and goes")
    for event in heard:
        for side in (event.old, event.new):
            assert side is None or side["metadata"].keys() <= {"name", "namespace", "uid", "resourceVersion"}
            assert side is None or side.keys() == {"metadata"}
    assert {(e.new or e.old or {})["metadata"]["name"] for e in heard} == {"theirs"}


def test_a_secret_wakes_the_clusters_that_read_it() -> None:
    reader, other = (Key("PerconaPGCluster", "ns1", name) for name in ("reader", "other"))
    memories = {reader: ClusterCache(secrets=frozenset({"theirs"})), other: ClusterCache()}
    strangers, others = watches(memories)[-2:]
    assert (strangers.kind, others.kind) == (kinds.SECRET_METADATA, kinds.SECRET)
    for one in (strangers, others):
        assert list(one.to_keys({"metadata": {"namespace": "ns1", "name": "theirs"}})) == [reader]
        assert list(one.to_keys({"metadata": {"namespace": "ns2", "name": "theirs"}})) == []
