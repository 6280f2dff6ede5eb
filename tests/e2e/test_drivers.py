"""Real drivers: each row of the table in docs/howto/connect.md, with each address of the user's Secret."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from local.console import LocalError
from pgoperator import naming, pki
from tests.support import documents, poolers
from tests.support.clients import Client
from tests.support.clusters import Cluster, example
from tests.support.drivers import LANGUAGE, PSQL, DriverError, Program
from tests.support.kubectl import KubectlError, until
from tests.support.output import emit
from tests.support.switchovers import answered, ask

pytestmark = pytest.mark.long
NAME = "drivers"
ODD = "odd-user"
PASSWORD = "Another-1/with:odd@chars%&?=+ #"
CA_IN_DOCS = "/certificates/ca.crt"


@dataclass(frozen=True)
class Row:
    """What the documentation has a driver append to an address."""

    driver: str
    encrypt: str
    verify: str
    writes: str


def rows() -> dict[str, Row]:
    """The table of the documentation."""
    table = documents.read("docs/howto/connect.md").partition("| driver |")[2].partition("\n\n")[0]
    found = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {cells[0]: Row(*cells) for cells in found}


ROWS = rows()


@dataclass
class Programs:
    """The programs of all languages, each started when it is needed."""

    start: Callable[[str], Program]
    client: Client
    running: dict[str, Program] = field(default_factory=dict)

    def check(self, driver: str, address: str) -> str:
        """Log in, run prepared statements, and return the user and whether the server recovers."""
        if driver == PSQL:
            query = "SELECT current_user || ' ' || pg_is_in_recovery()"
            try:
                return self.client.sql(address, query)
            except KubectlError as error:
                raise DriverError(str(error)) from error
        return self.of(driver).ask("check", driver, address)

    def of(self, driver: str) -> Program:
        """Return the program with a driver; the test is skipped if the language is not installed."""
        language = LANGUAGE[driver]
        if language not in self.running:
            try:
                self.running[language] = self.start(language)
            except LocalError as error:
                pytest.skip(str(error))
        return self.running[language]


@pytest.fixture(scope="module")
def programs(
    cluster: Cluster, client: Client, nodes: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Programs]:
    folder = tmp_path_factory.mktemp("drivers")
    with ExitStack() as stack:

        def start(language: str) -> Program:
            return stack.enter_context(Program(language, nodes[0], cluster.kubectl.namespace, folder))

        yield Programs(start, client)


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster]) -> Cluster:
    """A primary and a replica, and a user with a password that has to be encoded in an address."""
    manifest = example(NAME, instances=2, poolers=1)
    manifest["spec"]["backups"] = {"enabled": False}
    manifest["spec"]["users"] = [
        {"name": NAME, "databases": [NAME]},
        {"name": ODD, "databases": ["My shop"]},
    ]
    made = new_cluster(manifest)
    secret = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": naming.user_secret(NAME, ODD)}}
    made.kubectl.apply(secret | {"stringData": {"password": PASSWORD}})
    made.apply()
    made.wait_ready()
    return made


@pytest.fixture(scope="module", params=["session", "transaction"])
def mode(request: pytest.FixtureRequest, cluster: Cluster) -> str:
    """The mode of pgBouncer, which has taken effect."""
    config = {"global": {"pool_mode": request.param}}
    cluster.change(lambda spec: spec["proxy"]["pgBouncer"].update(config=config))
    for pod in cluster.poolers():
        has = partial(poolers.shows, cluster, pod["metadata"]["name"], "pool_mode", request.param)
        until(f"pgBouncer has {request.param}", has, 120, cluster.explain)
    return str(request.param)


@pytest.fixture(scope="module")
def authority(cluster: Cluster, client: Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with the CA of the user's Secret, on this machine and at the same place in the client pod."""
    file = Path("/tmp") / f"{cluster.kubectl.namespace}-ca.crt"
    text = cluster.credentials()["ca.crt"]
    file.write_text(text)
    client.write(str(file), text)
    return str(file)


def addresses(driver: str, secret: dict[str, str]) -> dict[str, str]:
    """The addresses of a Secret that the driver reads; libpq's or JDBC's."""
    keys = ("jdbc-uri", "pgbouncer-jdbc-uri") if driver == "pgjdbc" else ("uri", "pgbouncer-uri")
    found = {key: secret[key] for key in keys}
    if driver == "pgjdbc":  # pgBouncer tracks prepared statements, though the address does without them
        found["with prepared statements"] = found["pgbouncer-jdbc-uri"].replace(
            "prepareThreshold=0", "prepareThreshold=5"
        )
        assert found["with prepared statements"] != found["pgbouncer-jdbc-uri"]
    return found


@pytest.mark.parametrize("driver", ROWS)
def test_every_address_works(
    driver: str, mode: str, cluster: Cluster, programs: Programs, authority: str
) -> None:
    row = ROWS[driver]
    verified = row.verify.replace(CA_IN_DOCS, authority)
    # node-postgres uses no TLS unless it is asked to.
    ends = {NAME: [row.encrypt, verified], ODD: [verified]}
    if driver != "node-postgres":
        ends[NAME].append("")
    answers = {}
    for user, added in ends.items():
        for key, address in addresses(driver, cluster.credentials(user)).items():
            for end in added:
                try:
                    answers[user, key, end] = programs.check(driver, address + end)
                except DriverError as error:
                    answers[user, key, end] = f"error: {error}"
    wrong = {case: answer for case, answer in answers.items() if answer != f"{case[0]} false"}
    assert wrong == {}


@pytest.mark.parametrize("driver", ROWS)
def test_a_server_with_another_authority_is_refused(
    driver: str, cluster: Cluster, programs: Programs, tmp_path: Path
) -> None:
    file = tmp_path / "other.crt"
    file.write_bytes(pki.new_ca("other", datetime.now(UTC)).cert)
    if driver == PSQL:
        programs.client.run("mkdir", "-p", str(tmp_path))
        programs.client.write(str(file), file.read_text())
    for address in addresses(driver, cluster.credentials()).values():
        with pytest.raises(DriverError, match=r"(?i)certif"):
            programs.check(driver, address + ROWS[driver].verify.replace(CA_IN_DOCS, str(file)))


@pytest.mark.parametrize("driver", ROWS)
def test_replicas_and_several_hosts(
    driver: str, cluster: Cluster, programs: Programs, authority: str
) -> None:
    """Reads go to the Service of replicas; of two hosts, the driver finds the one that accepts writes."""
    row, secret = ROWS[driver], cluster.credentials()
    address = next(iter(addresses(driver, secret).values()))
    replica = secret["host"].replace(naming.primary(NAME), naming.replicas(NAME))
    end = row.verify.replace(CA_IN_DOCS, authority)
    both = address.replace(secret["host"], f"{replica}:5432,{secret['host']}")

    def answers(address: str, recovers: str) -> bool:
        try:
            return programs.check(driver, address) == f"{NAME} {recovers}"
        except DriverError as error:
            raise AssertionError(str(error)) from error

    # The former primary of an earlier test may still be joining, and pgjdbc remembers roles for ten seconds.
    reads = partial(answers, address.replace(secret["host"], replica) + end, "true")
    until("the replica answers", reads, 60, cluster.explain)
    if row.writes != "—":
        writes = partial(answers, f"{both}{end}&{row.writes}", "false")
        until("the driver finds the primary", writes, 30, cluster.explain)


def test_a_connection_over_a_switchover(mode: str, cluster: Cluster, programs: Programs) -> None:
    """In transaction mode clients of the pooler keep their connection; all others open one again."""
    opened = {}
    for driver in ROWS.keys() - {PSQL}:
        for key, address in addresses(driver, cluster.credentials()).items():
            opened[driver, key] = programs.of(driver)
            opened[driver, key].ask("open", f"{driver}.{key}", driver, address + ROWS[driver].encrypt)
    ask(cluster, mode)
    until("the primary has changed", lambda: answered(cluster) == mode, 120, cluster.explain)
    cluster.wait_ready(120)
    answers = {case: program.ask("close", ".".join(case)) for case, program in opened.items()}
    for (driver, key), answer in sorted(answers.items()):
        emit(f"{mode}, {driver}, {key}: {answer}")
    kept = {case for case, answer in answers.items() if answer == "same connection"}
    pooled = {case for case in answers if case[1] not in ("uri", "jdbc-uri")}
    assert kept == (pooled if mode == "transaction" else set())


def test_every_row_has_a_driver() -> None:
    assert ROWS.keys() == {*LANGUAGE, PSQL}
