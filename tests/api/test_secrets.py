"""Secrets against a real API server: made once, adopted, and never rotated by somebody who has not looked."""

import asyncio
import base64
from typing import Any

import pytest

from local.control_plane import Handle
from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.apply import Applier
from pgoperator.kube.client import Client
from pgoperator.kube.errors import AlreadyExists, Conflict
from pgoperator.kube.events import Recorder
from pgoperator.kube.manifest import Manifest, labels_of
from pgoperator.kube.store import Shard, Store
from pgoperator.postgres import scram
from pgoperator.settings import Settings
from reconcilers.pgcluster import credentials, plan, secrets, users
from reconcilers.pgcluster.certificates import Names
from reconcilers.pgcluster.credentials import Data
from reconcilers.pgcluster.view import Observed
from tests.api.conftest import audit
from tests.support.views import NOW, cluster_manifest

pytestmark = pytest.mark.api
NAME = naming.user_secret("cluster1", "cluster1")


class World:
    """A namespace, and an operator whose store shows only what it is shown."""

    def __init__(self, client: Client, namespace: str, control_plane: Handle) -> None:
        self.client = client
        self.namespace = namespace
        self.control_plane = control_plane
        self.restart()

    def restart(self) -> None:
        """Have an operator that knows nothing."""
        store = Store(labels.CLUSTER)
        self.shard: Shard = store.open(kinds.SECRET, None)
        events = Recorder(self.client)
        self.ctx = Context(self.client, store, Applier(self.client, store), events, Settings(), lambda: NOW)

    async def live(self, name: str = NAME) -> Manifest:
        return await self.client.get(kinds.SECRET, self.namespace, name)

    async def data(self, name: str = NAME) -> dict[str, bytes]:
        return credentials.decode(await self.live(name))

    async def see(self, *names: str) -> None:
        """Have the store show Secrets as they are now."""
        for name in names or (NAME,):
            self.shard.put(await self.live(name))

    async def create(self, data: dict[str, bytes], *, name: str = NAME, **own: str) -> None:
        """Make a Secret with somebody else's hands."""
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        metadata = {"name": name, "namespace": self.namespace, "labels": own}
        await self.client.create(
            {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded}
        )

    async def change(self, name: str = NAME, **data: bytes | None) -> None:
        encoded = {
            key: value if value is None else base64.b64encode(value).decode() for key, value in data.items()
        }
        await self.client.merge_patch(kinds.SECRET, self.namespace, name, {"data": encoded})

    def requests(self) -> list[tuple[str, str]]:
        return [
            (verb, name)
            for verb, what, name, _ in audit(self.control_plane, self.namespace)
            if what == "secrets"
        ]

    def cluster(self, **spec: Any) -> PGCluster:
        manifest = cluster_manifest(**spec)
        manifest["metadata"]["namespace"] = self.namespace
        return PGCluster.parse(manifest)

    async def ensure(self, **spec: Any) -> Data:
        """Complete the Secret of the first user."""
        cluster = self.cluster(**spec)
        user = users.effective(cluster)[0]
        own = labels.pguser("cluster1", user.name)
        metadata = {"name": user.secret_name or NAME, "namespace": self.namespace, "labels": own}
        return await credentials.ensure(self.ctx, metadata, credentials.user_secret(cluster, user))

    async def complete(self, **spec: Any) -> dict[str, Data]:
        cluster = self.cluster(**spec)
        sizes = {one.name: one.replicas for one in cluster.spec.instance_sets()}
        planned = plan.planned("cluster1", sizes, Observed())
        names = Names("cluster1", self.namespace, "cluster.local")
        found = await secrets.complete(self.ctx, cluster, names, planned, NOW)
        return dict(found.data)


@pytest.fixture
def world(client: Client, namespace: str, control_plane: Handle) -> World:
    return World(client, namespace, control_plane)


async def test_a_secret_is_made_once_and_then_costs_nothing(world: World) -> None:
    made = await world.ensure()
    assert await world.data() == made
    assert labels_of(await world.live()) == labels.pguser("cluster1", "cluster1")
    assert "ownerReferences" not in (await world.live())["metadata"]
    await world.see()
    before = world.requests()
    assert await world.ensure() == made
    assert world.requests() == before


async def test_an_operator_that_knows_nothing_looks_before_it_makes(world: World) -> None:
    made = await world.ensure()
    version = (await world.live())["metadata"]["resourceVersion"]
    world.restart()
    assert await world.ensure() == made
    assert (await world.live())["metadata"]["resourceVersion"] == version


async def test_of_two_who_make_it_at_once_one_wins_and_the_other_takes_his(world: World) -> None:
    answers = await asyncio.gather(*(world.ensure() for _ in range(4)), return_exceptions=True)
    made = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert made
    assert all(isinstance(a, AlreadyExists) for a in answers if isinstance(a, BaseException))
    assert {data["password"] for data in made} == {(await world.data())["password"]}
    assert await world.ensure() == await world.data()


async def test_of_two_who_complete_it_at_once_one_wins(world: World) -> None:
    await world.create({"note": b"mine"})
    answers = await asyncio.gather(*(world.ensure() for _ in range(4)), return_exceptions=True)
    made = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert all(isinstance(a, Conflict) for a in answers if isinstance(a, BaseException))
    assert {data["password"] for data in made} == {(await world.data())["password"]}
    assert await world.ensure() == await world.data()


async def test_a_user_s_own_secret_is_adopted(world: World) -> None:
    await world.create({"password": b"my own", "note": b"\x00"}, name="mine", team="a")
    people = [{"name": "app", "databases": ["app"], "secretName": "mine"}]
    made = await world.ensure(users=people)
    assert (made["password"], made["note"], made["user"]) == (b"my own", b"\x00", b"app")
    assert scram.matches(made["verifier"].decode(), "my own")
    assert await world.data("mine") == made
    assert labels_of(await world.live("mine")) == {"team": "a"} | labels.pguser("cluster1", "app")


async def test_a_changed_password_is_taken_over(world: World) -> None:
    await world.ensure()
    await world.change(password=b"changed")
    await world.see()
    made = await world.ensure()
    assert made["password"] == b"changed"
    assert await world.data() == made


@pytest.mark.parametrize(
    "stale", [{"password": b""}, {"password": None, "verifier": None}, {"verifier": b""}]
)
async def test_a_store_that_is_behind_rotates_nothing(world: World, stale: dict[str, bytes | None]) -> None:
    """What the store shows asks for a new password; what is there does not."""
    first = await world.ensure()
    await world.change(**stale)
    await world.see()
    await world.change(**{key: first[key] for key in stale})
    assert await world.ensure() == first
    assert await world.data() == first


async def test_a_lost_label_comes_back_and_the_password_stays(world: World) -> None:
    first = await world.ensure()
    gone = {"metadata": {"labels": {labels.ROLE: None}}}
    await world.client.merge_patch(kinds.SECRET, world.namespace, NAME, gone)
    await world.see()
    assert await world.ensure() == first
    assert labels_of(await world.live())[labels.ROLE] == labels.ROLE_PGUSER


async def test_an_address_that_leads_nowhere_goes_from_the_server_too(world: World) -> None:
    await world.ensure()
    await world.change(mine=b"1")
    made = await world.ensure(proxy=None)
    assert await world.data() == made
    assert not [key for key in made if key.startswith("pgbouncer-")]
    assert made["mine"] == b"1"
    await world.see()
    before = world.requests()
    await world.ensure(proxy=None)
    assert world.requests() == before, "what somebody added makes no work"


async def test_a_secret_of_another_cluster_stays_as_it_is(world: World) -> None:
    await world.create({"password": b"theirs"}, **labels.of_cluster("cluster2"))
    before = await world.live()
    with pytest.raises(InvalidSpec, match="belongs to the cluster 'cluster2'"):
        await world.ensure()
    assert await world.live() == before


@pytest.mark.parametrize("lacking", ["root.crt", "root.key"])
async def test_an_authority_that_lacks_a_key_is_told_and_nothing_is_overwritten(
    world: World, lacking: str
) -> None:
    await world.complete()
    authority = naming.cluster_ca("cluster1")
    await world.change(authority, **{lacking: None})
    names = [name for _, name in world.requests()]
    before = {name: await world.live(name) for name in set(names) if name}
    for seen in (False, True):
        if seen:
            await world.see(*before)
        with pytest.raises(InvalidSpec, match=lacking) as refused:
            await world.complete()
        assert refused.value.reason == "SecretInvalid"
    assert {name: await world.live(name) for name in before} == before


async def test_all_secrets_of_a_cluster_are_made_once(world: World) -> None:
    made = await world.complete()
    assert len(made) == 9
    for name, data in made.items():
        assert await world.data(name) == data
        assert labels_of(await world.live(name))[labels.CLUSTER] == "cluster1"
    world.restart()
    assert await world.complete() == made, "another operator finds them"
    await world.see(*made)
    before = world.requests()
    assert await world.complete() == made
    assert world.requests() == before, "and in the steady state nobody is asked"


async def test_keys_that_others_add_make_no_work(world: World) -> None:
    made = await world.complete()
    for name in made:
        await world.change(name, mine=b"1")
    await world.see(*made)
    before = world.requests()
    again = await world.complete()
    assert world.requests() == before
    assert again == {name: {**data, "mine": b"1"} for name, data in made.items()}
