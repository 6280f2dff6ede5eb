"""Secrets against a real API server: created once, adopted, and never rotated from a stale store."""

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
from pgoperator.kube.manifest import Manifest, files_of, labels_of
from pgoperator.kube.store import Shard, Store
from pgoperator.postgres import scram
from pgoperator.settings import Settings
from reconcilers.pgcluster.credentials import act_secrets, act_write_secret, build_passwords
from reconcilers.pgcluster.credentials.build_certificates import Names
from reconcilers.pgcluster.credentials.build_passwords import Data
from reconcilers.pgcluster.database import decide_users
from reconcilers.pgcluster.instances import decide_membership
from reconcilers.pgcluster.state.view import Observed
from tests.api.conftest import audit
from tests.support.views import NOW, cluster_manifest

pytestmark = pytest.mark.api
NAME = naming.user_secret("cluster1", "cluster1")


class World:
    """A namespace, and an operator whose store is updated only on request."""

    def __init__(self, client: Client, namespace: str, control_plane: Handle) -> None:
        self.client = client
        self.namespace = namespace
        self.control_plane = control_plane
        self.restart()

    def restart(self) -> None:
        """Start an operator with an empty store."""
        store = Store(labels.CLUSTER)
        self.shard: Shard = store.open(kinds.SECRET, None)
        events = Recorder(self.client)
        self.ctx = Context(self.client, store, Applier(self.client, store), events, Settings(), lambda: NOW)

    async def live(self, name: str = NAME) -> Manifest:
        return await self.client.get(kinds.SECRET, self.namespace, name)

    async def data(self, name: str = NAME) -> dict[str, bytes]:
        return files_of(await self.live(name))

    async def see(self, *names: str) -> None:
        """Update the store with the current Secrets."""
        for name in names or (NAME,):
            self.shard.put(await self.live(name))

    async def create(self, data: dict[str, bytes], *, name: str = NAME, **own: str) -> None:
        """Create a Secret as another client."""
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
        user = decide_users.effective(cluster)[0]
        own = labels.pguser("cluster1", user.name)
        metadata = {"name": user.secret_name or NAME, "namespace": self.namespace, "labels": own}
        return await act_write_secret.ensure(self.ctx, metadata, build_passwords.user_secret(cluster, user))

    async def complete(self, **spec: Any) -> dict[str, Data]:
        return dict((await self.completed(**spec)).data)

    async def completed(self, **spec: Any) -> act_secrets.Secrets:
        cluster = self.cluster(**spec)
        sizes = {one.name: one.replicas for one in cluster.spec.instance_sets()}
        planned = decide_membership.planned("cluster1", sizes, Observed())
        names = Names("cluster1", self.namespace, "cluster.local")
        return await act_secrets.complete(self.ctx, cluster, names, planned, NOW, backups_enabled=True)


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


PEOPLE = [{"name": "app", "databases": ["app"], "secretName": "mine"}]


async def test_a_secret_of_the_generated_name_is_completed(world: World) -> None:
    """Its name says that it is for a user of this cluster."""
    await world.create({"password": b"my own", "note": b"\x00"}, team="a")
    made = (await world.complete())[NAME]
    assert (made["password"], made["note"], made["user"]) == (b"my own", b"\x00", b"cluster1")
    assert scram.matches(made["verifier"].decode(), "my own")
    assert await world.data() == made
    own = {"team": "a"} | labels.pguser("cluster1", "cluster1")
    assert own.items() <= labels_of(await world.live()).items()


async def test_a_secret_of_somebody_else_is_read_and_not_written(world: World) -> None:
    """Its addresses would lead the application of its owner to this cluster."""
    theirs = {"password": b"their own", "host": b"their-database", "uri": b"postgresql://their-database"}
    await world.create(theirs, name="mine", team="a")
    before = await world.live("mine")
    for _ in range(2):
        made = (await world.complete(users=PEOPLE))["mine"]
        assert set(made) == {"user", "password", "verifier"}
        assert scram.matches(made["verifier"].decode(), "their own")
        assert made == (await world.complete(users=PEOPLE))["mine"], "another verifier would be written again"
        world.restart()
    assert await world.live("mine") == before
    await world.change("mine", verifier=scram.verifier("their own", b"0" * 16).encode())
    assert (await world.complete(users=PEOPLE))["mine"]["verifier"] == (await world.data("mine"))["verifier"]


async def test_a_secret_of_somebody_else_without_a_password_is_reported(world: World) -> None:
    await world.create({"token": b"x"}, name="mine")
    before = await world.live("mine")
    found = await world.completed(users=[*PEOPLE, {"name": "other"}])
    [problem] = found.problems
    assert problem.reason == "SecretInvalid"
    assert labels.ALLOW_ADOPTION_BY in problem.message
    assert naming.user_secret("cluster1", "other") in found.data, "all others are set up"
    assert await world.live("mine") == before


@pytest.mark.parametrize("allowed", ["cluster1", "cluster2"])
async def test_the_owner_of_a_secret_lets_one_cluster_take_it_over(world: World, allowed: str) -> None:
    await world.create({"password": b"my own"}, name="mine")
    allow = {"metadata": {"annotations": {labels.ALLOW_ADOPTION_BY: allowed}}}
    await world.client.merge_patch(kinds.SECRET, world.namespace, "mine", allow)
    made = (await world.complete(users=PEOPLE))["mine"]
    taken = allowed == "cluster1"
    assert (labels.CLUSTER in labels_of(await world.live("mine"))) is taken
    assert ("uri" in made) is taken
    assert (await world.data("mine") == made) is taken


async def test_a_secret_of_our_labels_stays_managed(world: World) -> None:
    """Such as one that Percona's operator has labelled."""
    await world.create({"password": b"my own"}, name="mine", **labels.of_cluster("cluster1"))
    made = (await world.complete(users=PEOPLE))["mine"]
    assert "uri" in made
    assert await world.data("mine") == made


async def test_a_secret_that_the_spec_names_is_made_if_it_does_not_exist(world: World) -> None:
    made = (await world.complete(users=PEOPLE))["mine"]
    assert await world.data("mine") == made
    assert "uri" in made


@pytest.mark.parametrize("name", [naming.pgbouncer("cluster1"), naming.pgbackrest("cluster1")])
async def test_a_secret_of_an_application_with_the_cluster_s_name_stays(world: World, name: str) -> None:
    await world.create({"userlist.txt": b"theirs"}, name=name)
    before = await world.live(name)
    with pytest.raises(InvalidSpec, match=labels.ALLOW_ADOPTION_BY) as refused:
        await world.complete()
    assert refused.value.reason == "NameTaken"
    assert await world.live(name) == before


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
    """The stale store suggests a new password; the live Secret does not."""
    first = await world.ensure()
    await world.change(NAME, **stale)
    await world.see()
    await world.change(NAME, **{key: first[key] for key in stale})
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
        found = await world.completed()
        assert found.problems[0].reason == "SecretInvalid"
        assert lacking in found.problems[0].message
        assert found.data.keys() == before.keys() - {authority}, "all that exists goes on as it is"
    assert {name: await world.live(name) for name in before} == before
    instance = next(name for name in before if name.endswith("-certs"))
    await world.change(instance, **{"dns.crt": None})
    world.restart()
    with pytest.raises(InvalidSpec, match=lacking):
        await world.complete()


async def test_an_invalid_secret_of_one_user_stops_nobody_else(world: World) -> None:
    users = [{"name": "w1"}, {"name": "w2"}, {"name": "w3"}]
    await world.complete(users=users[:2])
    w1, w2, w3 = (naming.user_secret("cluster1", one["name"]) for one in users)
    await world.change(w1, password=b"\xff")
    await world.create({"password": b"theirs"}, name=w3, **labels.of_cluster("cluster2"))
    await world.change(w2, password=b"new")
    world.restart()
    found = await world.completed(users=users)
    assert (found.data[w2]["password"], w1 in found.data, w3 in found.data) == (b"new", False, False)
    one, other = sorted(problem.message for problem in found.problems)
    assert "user 'w1'" in one
    assert "not UTF-8" in one
    assert "user 'w3'" in other
    assert "cluster2" in other
    assert (await world.data(w1))["password"] == b"\xff"


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
