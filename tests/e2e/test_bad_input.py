"""Mistakes of users: a rejected apply, or a condition with the cause; other clusters are not affected."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.clients import Client
from tests.support.clusters import KIND, Cluster, example, small
from tests.support.kubectl import Event, Kubectl, KubectlError, Manifest, Watch, condition, until
from tests.support.operators import Operator
from tests.support.output import emit

# For all cases together, in parallel, on a busy machine; the time of each is printed.
SECONDS = 120
TOLD = {"Ready": "False", "Degraded": "True", "FieldsIgnored": "True", "FieldsOverridden": "True"}
NO_IMAGE = "localhost/pgoperator/nothing-here:1"
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


@dataclass(frozen=True)
class Case:
    """An invalid cluster, and words of which its explanation must contain one."""

    words: tuple[str, ...]
    spec: dict[str, Any] = field(default_factory=dict)
    secret: dict[str, str] | None = None
    """A Secret named `given` for the cluster."""
    name: str = ""


def parameters(**values: Any) -> dict[str, Any]:
    return {"patroni": {"dynamicConfiguration": {"postgresql": {"parameters": values}}}}


def instance_set(**values: Any) -> dict[str, Any]:
    return {"name": "instance1", "replicas": 1, "dataVolumeClaimSpec": CLAIM} | values


REPO = {"repos": [{"name": "repo1", "volume": {"volumeClaimSpec": CLAIM}}]}

REFUSED = {
    "unknown-field": Case(("instanzes", "unknown field"), {"instanzes": []}),
    "wrong-type": Case(("replicas",), {"instances": [instance_set(replicas="three")]}),
    "no-replicas": Case(("replicas",), {"instances": [instance_set(replicas=0)]}),
    "two-sets-of-one-name": Case(
        ("Duplicate", "duplicate", "instances"), {"instances": [instance_set(), instance_set()]}
    ),
}
EXPLAINED = {
    "long-name": Case(("too long",), name="n" + "a-very-long-name" * 3),
    "semicolon": Case(
        (";", "options", "statement"), {"users": [{"name": "eve", "options": "NOLOGIN; DROP TABLE x"}]}
    ),
    "no-repository-secret": Case(
        ("not-there",),
        {"backups": {"pgbackrest": REPO | {"configuration": [{"secret": {"name": "not-there"}}]}}},
    ),
    "secret-lacks-a-key": Case(
        ("s3.conf",),
        {
            "backups": {
                "pgbackrest": REPO
                | {
                    "configuration": [
                        {
                            "secret": {
                                "name": "given-secret-lacks-a-key",
                                "items": [{"key": "s3.conf", "path": "s3.conf"}],
                            }
                        }
                    ]
                }
            }
        },
        secret={"other.conf": "nothing"},
    ),
    "no-image": Case(("nothing-here",), {"image": NO_IMAGE}),
    "other-major": Case(
        ("the image holds PostgreSQL 17",),
        {"postgresVersion": 16, "image": "localhost/pgoperator/postgres:17"},
    ),
    "bad-parameter": Case(("work_mem",), parameters(work_mem="plenty")),
    "unknown-parameter": Case(("no_such_parameter",), parameters(no_such_parameter="on")),
    "forbidden-parameter": Case(("archive_command", "data_directory"), parameters(data_directory="/tmp/x")),
    "broken-hba": Case(
        ("hba",), {"patroni": {"dynamicConfiguration": {"postgresql": {"pg_hba": ["hostz all all all"]}}}}
    ),
    "no-volume": Case(
        ("no-such-class", "olume"),
        {"instances": [instance_set(dataVolumeClaimSpec=CLAIM | {"storageClassName": "no-such-class"})]},
    ),
    "too-big": Case(
        ("nsufficient", "cpu"), {"instances": [instance_set(resources={"requests": {"cpu": "500"}})]}
    ),
}


@pytest.fixture(scope="module")
def bystander(new_cluster: Callable[..., Cluster], client: Client) -> Iterator[Cluster]:
    """A valid cluster that must not be affected."""
    made = new_cluster(example("bystander", instances=1, poolers=1))
    made.apply()
    made.wait_ready()
    before = made.restarts()
    yield made
    assert made.is_ready(), made.explain()
    assert made.restarts() == before
    assert client.sql(made.credentials()["pgbouncer-uri"], "SELECT 1") == "1"


@pytest.fixture(scope="module", autouse=True)
def calm_operator(operator: Operator, bystander: Cluster) -> Iterator[None]:
    """The operator, which must not restart."""
    uid = operator.pod()["metadata"]["uid"]
    yield
    assert operator.pod()["metadata"]["uid"] == uid
    assert operator.restart_count() == 0, operator.log()


@dataclass
class Sent:
    """The result of applying a case."""

    cluster: Cluster
    at: float
    refusal: str = ""


@pytest.fixture(scope="module")
def watch(kubectl: Kubectl, operator: Operator) -> Iterator[Watch]:
    """All status updates of the clusters with their times."""
    with Watch(
        kubectl, f"/apis/pgv2.percona.com/v2/namespaces/{kubectl.namespace}/perconapgclusters"
    ) as found:
        yield found


@pytest.fixture(scope="module")
def sent(new_cluster: Callable[..., Cluster], bystander: Cluster, watch: Watch) -> dict[str, Sent]:
    """Apply all cases at once, so that they run in parallel."""
    found = {}
    for name, case in EXPLAINED.items():
        cluster = new_cluster(small(case.name or name, **case.spec))
        if case.secret is not None:
            metadata = {"name": f"given-{name}"}
            cluster.kubectl.apply(
                {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": case.secret}
            )
        one = Sent(cluster, time.time())
        try:
            cluster.apply()
        except KubectlError as error:
            one.refusal = str(error)
        found[name] = one
    return found


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_is_refused(kubectl: Kubectl, name: str) -> None:
    case = REFUSED[name]
    with pytest.raises(KubectlError) as refusal:
        kubectl.apply(small(name, **case.spec))
    assert any(word in str(refusal.value) for word in case.words), refusal.value
    assert kubectl.find(KIND, name) is None
    emit(f"{name}: {str(refusal.value)[-300:]}")


@pytest.mark.parametrize("name", sorted(EXPLAINED))
def test_is_explained(sent: dict[str, Sent], watch: Watch, name: str) -> None:
    case, one = EXPLAINED[name], sent[name]
    if one.refusal:
        assert any(word in one.refusal for word in case.words), one.refusal
        emit(f"{name}: refused: {one.refusal[-300:]}")
        return
    explained(watch, one.cluster, case.words, one.at)


def explained(watch: Watch, cluster: Cluster, words: tuple[str, ...], since: float) -> None:
    """Wait for a condition that names the cause, and print its delay after `since`."""

    def telling(manifest: Manifest) -> Manifest | None:
        found = [condition(manifest, kind) for kind in TOLD]
        return next(
            (
                c
                for c in found
                if c and c["status"] == TOLD[c["type"]] and any(word in c["message"] for word in words)
            ),
            None,
        )

    def first() -> Event | None:
        return next(
            (
                event
                for event in list(watch.events)
                if event.object["metadata"]["name"] == cluster.name
                and event.at >= since
                and telling(event.object)
            ),
            None,
        )

    what = f"a condition of {cluster.name} names one of {words}"
    event = until(what, first, since + SECONDS - time.time(), cluster.explain)
    said = telling(event.object)
    assert said is not None
    assert said["reason"]
    emit(f"{cluster.name}: after {event.at - since:.1f} s: {said['reason']}: {said['message'][:200]}")


@pytest.mark.usefixtures("sent")
def test_rules_that_lock_everybody_out_keep_the_operator(
    new_cluster: Callable[..., Cluster], client: Client
) -> None:
    """A user can lock out database users; the operator, the replicas and the pooler keep their rules."""
    rules = ["local all all reject", "host all all all reject"]
    manifest = small("locked", patroni={"dynamicConfiguration": {"postgresql": {"pg_hba": rules}}})
    cluster = new_cluster(manifest)
    cluster.apply()
    cluster.wait_ready(120)
    assert "rejects" in client.refused(cluster.credentials()["uri"])
    cluster.change(lambda spec: spec.update(users=[{"name": "late", "databases": ["late"]}]))
    late = "SELECT count(*) FROM pg_roles WHERE rolname = 'late'"
    until("the operator still manages users", lambda: cluster.psql(late) == "1", 30, cluster.explain)


@pytest.mark.usefixtures("sent")
def test_a_mistake_in_a_living_cluster_harms_nothing(
    bystander: Cluster, watch: Watch, client: Client
) -> None:
    """A condition shows the mistake, the database runs on, and the correction clears the condition."""
    before = bystander.restarts()
    bad = {"postgresql": {"parameters": {"work_mem": "plenty"}}}
    since = time.time()
    bystander.change(lambda spec: spec.setdefault("patroni", {}).update(dynamicConfiguration=bad))
    try:
        explained(watch, bystander, ("work_mem",), since)
        assert client.sql(bystander.credentials()["pgbouncer-uri"], "SELECT 1") == "1"
    finally:
        bystander.change(lambda spec: spec["patroni"].pop("dynamicConfiguration"))
    bystander.wait_ready(60)
    assert bystander.restarts() == before
    assert bystander.psql("SHOW work_mem") == "4MB"
