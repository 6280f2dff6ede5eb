"""Real drivers under load through the planned changes in the life of a cluster.

Each driver runs the code that docs/howto/connect.md shows. In transaction mode it has nothing to repeat.
"""

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import pytest

from pgoperator import naming
from tests.support import backups
from tests.support.clients import Client
from tests.support.clusters import Cluster, example
from tests.support.drivers import LANGUAGE, Loaded, Program
from tests.support.kubectl import Manifest, until
from tests.support.output import emit
from tests.support.switchovers import answered, ask

pytestmark = pytest.mark.long
NAME = "load"
DRIVERS = ("psycopg 3", "pgjdbc", "pgx")
WORKERS = "2"


@pytest.fixture(scope="module", params=["transaction", "session"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def cluster(mode: str, new_cluster: Callable[..., Cluster]) -> Iterator[Cluster]:
    """A primary, a replica, two poolers and a repository."""
    manifest = example(f"{NAME}-{mode}", instances=2, poolers=2)
    manifest["spec"]["proxy"]["pgBouncer"]["config"] = {"global": {"pool_mode": mode}}
    made = new_cluster(manifest)
    made.apply()
    made.wait_ready()
    backups.first_backup(made)
    yield made
    made.kubectl.delete("perconapgclusters", made.name)


@pytest.fixture(scope="module")
def programs(
    cluster: Cluster, nodes: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Program]]:
    folder, namespace = tmp_path_factory.mktemp("load"), cluster.kubectl.namespace
    with ExitStack() as stack:
        yield {
            driver: stack.enter_context(Program(LANGUAGE[driver], nodes[0], namespace, folder))
            for driver in DRIVERS
        }


@dataclass
class Clients:
    """Drivers that insert rows through pgBouncer while something changes."""

    cluster: Cluster
    client: Client
    programs: dict[str, Program]
    mode: str

    @contextmanager
    def during(self, change: str, *, repeats: bool = False) -> Iterator[None]:
        """No transaction fails, no row is lost; in transaction mode none runs again unless it `repeats`."""
        secret = self.cluster.credentials()
        table = "during_" + "".join(filter(str.isalnum, change.lower()))
        columns = "driver text, worker int, n int, PRIMARY KEY (driver, worker, n)"
        self.client.sql(secret["pgbouncer-uri"], f"CREATE TABLE {table} ({columns})")
        for driver, program in self.programs.items():
            key = "pgbouncer-jdbc-uri" if driver == "pgjdbc" else "pgbouncer-uri"
            program.ask("load", table, driver, secret[key], table, WORKERS)
        count = f"SELECT count(DISTINCT driver) FROM {table}"
        until(
            "each driver writes",
            lambda: self.client.sql(secret["pgbouncer-uri"], count) == str(len(DRIVERS)),
            60,
            self.cluster.explain,
        )
        try:
            yield
            self.cluster.wait_ready(120)
        finally:
            results = {driver: program.stop(table) for driver, program in self.programs.items()}
            for driver, result in results.items():
                emit(f"{self.mode} mode, {change}, {driver}: {result}")
        self._judge(table, results, repeats=repeats)

    def _judge(self, table: str, results: dict[str, Loaded], *, repeats: bool) -> None:
        name = self.cluster.name
        counts = f'SELECT driver, count(*) FROM "{name}".{table} GROUP BY driver'
        there = dict(line.split("|") for line in self.cluster.psql(counts, database=name).splitlines())
        for driver, result in results.items():
            assert result.errors == 0, f"{driver}: {result}"
            assert int(there[driver]) >= result.rows > 0, f"{driver}: rows are lost"
            if self.mode == "transaction" and not repeats:
                assert result.retries == 0, f"{driver}: {result}"


@pytest.fixture
def clients(cluster: Cluster, client: Client, programs: dict[str, Program], mode: str) -> Clients:
    return Clients(cluster, client, programs, mode)


def test_a_switchover(cluster: Cluster, clients: Clients) -> None:
    before = cluster.primary_name()
    with clients.during("a switchover"):
        ask(cluster, "loaded")
        until("it is carried out", lambda: answered(cluster) == "loaded", 120, cluster.explain)
    assert cluster.primary_name() != before


def test_a_parameter_that_needs_a_restart(cluster: Cluster, clients: Clients) -> None:
    configuration = {"postgresql": {"parameters": {"max_connections": 107}}}

    def everywhere() -> bool:
        pods = [pod["metadata"]["name"] for pod in cluster.instances()]
        return all(cluster.psql("SHOW max_connections", pod) == "107" for pod in pods)

    with clients.during("a restart for a parameter"):
        cluster.change(lambda spec: spec.setdefault("patroni", {}).update(dynamicConfiguration=configuration))
        until("every instance has the value", everywhere, 180, cluster.explain, 1)


def test_a_new_password(cluster: Cluster, clients: Clients) -> None:
    secret = naming.user_secret(cluster.name, cluster.name)
    with clients.during("a new password"):
        data = {"password": base64.b64encode(b"another-password").decode()}
        cluster.kubectl.patch("secret", secret, {"data": data})
        until(
            "the address has it",
            lambda: "another-password" in cluster.credentials()["pgbouncer-uri"],
            60,
            cluster.explain,
        )
        clients.client.first_login(cluster.credentials()["pgbouncer-uri"], 60)


def test_certificates(cluster: Cluster, clients: Clients) -> None:
    host = f"{naming.pgbouncer(cluster.name)}.{cluster.kubectl.namespace}.svc"
    pooler = naming.pgbouncer(cluster.name)
    old = clients.client.fingerprint(host)
    with clients.during("certificates"):
        cluster.kubectl.run("delete", "secret", naming.cluster_certificate(cluster.name))
        gone = {"data": {"pgbouncer-frontend.crt": None, "pgbouncer-frontend.key": None}}
        cluster.kubectl.patch("secret", pooler, gone)
        until("they are served", lambda: clients.client.fingerprint(host) != old, 150, cluster.explain, 2)


def test_a_backup(cluster: Cluster, clients: Clients) -> None:
    with clients.during("a backup"):
        backups.backed_up(cluster, "loaded")


def test_more_and_fewer_instances(cluster: Cluster, clients: Clients) -> None:
    for replicas in (3, 2):
        with clients.during(f"{replicas} instances"):
            cluster.change(partial(_resize_instances, replicas=replicas))
            until("they are there", partial(_has, cluster.instances, replicas), 180, cluster.explain, 1)


def test_more_and_fewer_poolers(cluster: Cluster, clients: Clients) -> None:
    """A pooler that ends closes its clients' connections, in each mode."""
    for replicas in (3, 2):
        with clients.during(f"{replicas} poolers", repeats=replicas == 2):
            cluster.change(partial(_resize_poolers, replicas=replicas))
            until("they are there", partial(_has, cluster.poolers, replicas), 120, cluster.explain, 1)


def _has(items: Callable[[], list[Manifest]], count: int) -> bool:
    return len(items()) == count


def _resize_instances(spec: Manifest, replicas: int) -> None:
    spec["instances"][0]["replicas"] = replicas


def _resize_poolers(spec: Manifest, replicas: int) -> None:
    spec["proxy"]["pgBouncer"]["replicas"] = replicas


def test_a_restart_of_the_operator(cluster: Cluster, clients: Clients) -> None:
    assert cluster.operator
    with clients.during("a restart of the operator"):
        cluster.operator.restart()
