"""Changes of a running cluster: each takes effect, and nothing else changes."""

import base64
import time
from collections.abc import Iterator
from functools import partial

import pytest

from pgoperator import naming
from tests.support.clients import Client, pooler_host
from tests.support.clusters import Cluster
from tests.support.kubectl import Manifest, until
from tests.support.operators import Operator
from tests.support.output import emit

NAME = "cluster1"


@pytest.fixture(autouse=True)
def only_pods_that_may(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[None]:
    """No test of this module restarts a pod that it does not add or remove."""
    cluster.wait_ready()
    before = cluster.restarts()
    yield
    if request.function is test_instances_grow_and_shrink:
        return  # a pod that is removed and added again has the same name and another uid
    after = cluster.restarts()
    common = before.keys() & after.keys()
    assert {k: after[k] for k in common} == {k: before[k] for k in common}


def scale(cluster: Cluster, replicas: int) -> None:
    cluster.change(lambda spec: spec["instances"][0].update(replicas=replicas))


def names(pods: list[Manifest]) -> set[str]:
    return {str(pod["metadata"]["name"]) for pod in pods}


def test_instances_grow_and_shrink(cluster: Cluster, client: Client) -> None:
    uri = cluster.credentials()["pgbouncer-uri"]
    client.sql(uri, "CREATE TABLE scaled AS SELECT g AS n FROM generate_series(1, 500) g")
    primary, three = cluster.primary(), names(cluster.instances())

    def grown() -> set[str]:
        cluster.wait_ready(120)
        return names(cluster.instances())

    began = time.monotonic()
    scale(cluster, 4)
    four = grown()
    emit(f"3 to 4 instances: {time.monotonic() - began:.1f} s")
    assert four > three
    assert len(four) == 4
    added = (four - three).pop()
    assert cluster.psql(f'SELECT count(*) FROM "{NAME}".scaled', added, NAME) == "500"

    began = time.monotonic()
    scale(cluster, 2)
    until("two instances are left", lambda: len(cluster.instances()) == 2, 60, cluster.explain)
    cluster.wait_ready(60)
    emit(f"4 to 2 instances: {time.monotonic() - began:.1f} s")
    two = names(cluster.instances())
    assert cluster.primary()["metadata"]["uid"] == primary["metadata"]["uid"], "the primary was touched"
    claims = set(cluster.kubectl.names("persistentvolumeclaims", cluster.selector))
    kept = {name.removesuffix("-0") + "-pgdata" for name in four - two}
    assert kept <= claims, "a removed instance's volume is gone"
    # Patroni removes these members from its state.
    until("patronictl shows two members", lambda: len(cluster.patronictl()) == 2, 60, cluster.explain)

    scale(cluster, 3)
    cluster.wait_ready(120)
    back = names(cluster.instances())
    assert back < four, "a new instance was made although a volume was free"
    returned = (back - two).pop()
    assert cluster.psql(f'SELECT count(*) FROM "{NAME}".scaled', returned, NAME) == "500"
    assert set(cluster.kubectl.names("persistentvolumeclaims", cluster.selector)) == claims


def test_pgbouncer_grows_and_shrinks(cluster: Cluster) -> None:
    def scale(replicas: int) -> None:
        cluster.change(lambda spec: spec["proxy"]["pgBouncer"].update(replicas=replicas))
        until(f"{replicas} pgBouncer pods", lambda: len(cluster.poolers()) == replicas, 60, cluster.explain)
        cluster.wait_ready(60)

    for replicas in (4, 1, 3):
        scale(replicas)
        assert cluster.cr()["status"]["pgbouncer"] == {"size": replicas, "ready": replicas}


def test_a_password_in_the_secret_takes_effect(cluster: Cluster, client: Client) -> None:
    secret = naming.user_secret(NAME, NAME)
    old = cluster.credentials()
    for password in ("Another-1/with:odd@chars%", "simple2"):
        began = time.time()
        data = {"password": base64.b64encode(password.encode()).decode()}
        cluster.kubectl.patch("secret", secret, {"data": data})
        for where, host in (("direct", "host"), ("pgBouncer", "pgbouncer-host")):
            uri = f"host={old[host]} port=5432 dbname={NAME} user={NAME} password='{password}'"
            seconds = client.first_login(uri, 60) - began
            emit(f"new password works ({where}): {seconds:.1f} s after the change")
    new = cluster.credentials()
    assert new["verifier"] != old["verifier"]
    assert client.sql(new["uri"], "SELECT 1") == client.sql(new["pgbouncer-uri"], "SELECT 1") == "1"
    assert "authentication failed" in client.refused(old["uri"])
    assert "authentication failed" in client.refused(old["pgbouncer-uri"])


def test_a_user_and_a_database_are_added(cluster: Cluster, client: Client) -> None:
    add_rhino(cluster)
    data = cluster.credentials("rhino")
    assert data["dbname"] == "zoo"
    for key in ("uri", "pgbouncer-uri"):
        answer = (
            "SELECT current_user, current_database(), rolcreatedb FROM pg_roles WHERE rolname = current_user"
        )
        assert client.sql(data[key], answer) == "rhino|zoo|t"
    client.sql(
        data["pgbouncer-uri"], "CREATE TABLE IF NOT EXISTS herd (n int); SELECT 'rhino.herd'::regclass"
    )
    both = data["uri"].replace("/zoo", f"/{NAME}")
    assert client.sql(both, "SELECT current_database()") == NAME
    assert client.sql(cluster.credentials()["uri"], "SELECT 1") == "1"


def add_rhino(cluster: Cluster) -> None:
    users = [
        {"name": NAME, "databases": [NAME]},
        {"name": "rhino", "databases": ["zoo", NAME], "options": "CREATEDB CONNECTION LIMIT 20"},
    ]
    cluster.change(lambda spec: spec.update(users=users))
    until("rhino has a Secret", lambda: cluster.credentials("rhino").get("uri"), 30, cluster.explain)
    cluster.wait_ready(60)
    exists = "SELECT count(*) FROM pg_roles, pg_database WHERE rolname = 'rhino' AND datname = 'zoo'"
    until("rhino and zoo exist", lambda: cluster.psql(exists) == "1", 30, cluster.explain)


def test_drift_is_repaired(cluster: Cluster, client: Client, operator: Operator) -> None:
    """The periodic resync takes ten minutes; a new operator checks the database at once."""
    add_rhino(cluster)
    uri = cluster.credentials("rhino")["uri"]
    cluster.psql(
        "ALTER ROLE rhino NOLOGIN PASSWORD 'x' NOCREATEDB; REVOKE ALL ON DATABASE zoo FROM rhino, public"
    )
    cluster.psql("DROP SCHEMA IF EXISTS rhino CASCADE", database="zoo")
    cluster.psql("DROP SCHEMA pgbouncer CASCADE")
    client.refused(uri)
    operator.restart()
    until("rhino is let in again", lambda: client.sql(uri, "SELECT 1") == "1", 60, cluster.explain)
    schema = "SELECT count(*) FROM pg_namespace WHERE nspname = 'rhino'"
    until("the schema exists", lambda: cluster.psql(schema, database="zoo") == "1", 60, cluster.explain)
    facts = (
        "SELECT rolcreatedb, has_database_privilege('rhino', 'zoo', 'CREATE')"
        " FROM pg_roles WHERE rolname = 'rhino'"
    )
    assert cluster.psql(facts) == "t|t"
    assert client.sql(cluster.credentials("rhino")["pgbouncer-uri"], "SELECT 1") == "1"


def test_alter_system_is_noticed_at_once(cluster: Cluster) -> None:
    """What is the operator's is taken back; a server that became read-only is not ready, and says why."""
    secret = "/etc/patroni/~postgres-operator/pooler-password"
    ask = f'read -r host port <{naming.SCRIPTS_PATH}/pooler; export PGPASSWORD=$(<"{secret}"); '
    ask += 'psql -qAtw -h "$host" -p "$port" -U _crunchypgbouncer -c "SELECT 1" postgres'
    until(
        "the pod can ask the pooler",
        lambda: cluster.exec(cluster.primary_name(), "bash", "-c", ask).strip() == "1",
        120,  # until the kubelet has updated the ConfigMap
        cluster.explain,
    )
    command = cluster.psql("SHOW archive_command")
    began = time.monotonic()
    cluster.psql(
        "ALTER SYSTEM SET archive_command = '/bin/true'; ALTER SYSTEM SET default_transaction_read_only = on;"
        "SELECT pg_reload_conf()"
    )
    until(
        "the condition has the cause",
        lambda: cluster.condition("Ready").get("reason") == "WriteFailing",
        60,
        cluster.explain,
    )
    emit(f"a write that is refused: in the status after {time.monotonic() - began:.1f} s")
    assert "cannot execute DELETE in a read-only transaction" in cluster.condition("Ready")["message"]
    until(
        "the command is ours again",
        lambda: cluster.psql("SHOW archive_command") == command,
        60,
        cluster.explain,
    )
    cluster.psql("ALTER SYSTEM RESET default_transaction_read_only; SELECT pg_reload_conf()")
    cluster.wait_ready(60)


def test_pgbouncer_reloads_its_configuration(cluster: Cluster) -> None:
    began = time.monotonic()
    cluster.change(
        lambda spec: spec["proxy"]["pgBouncer"].update(config={"global": {"default_pool_size": "33"}})
    )
    password = cluster.secret(naming.pgbouncer(NAME))["pgbouncer-admin-password"]
    console = "host=localhost port=5432 dbname=pgbouncer user=_crunchypgbounceradmin sslmode=require"
    script = f'read -r PGPASSWORD; export PGPASSWORD; psql -qAt "{console}" -c "SHOW CONFIG"'

    def follows(pod: str) -> bool:
        command = ("bash", "-c", script)
        text = cluster.kubectl.exec(pod, *command, container="pgbouncer", stdin=password + "\n")
        values = dict(line.split("|")[:2] for line in text.splitlines() if "|" in line)
        return values["default_pool_size"] == "33"

    for pod in sorted(names(cluster.poolers())):
        until(f"{pod} has the new setting", partial(follows, pod), 120, cluster.explain, 1)
    emit(f"pgBouncer's configuration took effect after {time.monotonic() - began:.1f} s")


def shows(cluster: Cluster, pod: str, parameter: str, value: str) -> bool:
    return cluster.psql(f"SHOW {parameter}", pod) == value


def test_a_parameter_is_reloaded(cluster: Cluster) -> None:
    pods = sorted(names(cluster.instances()))
    started = {pod: cluster.psql("SELECT pg_postmaster_start_time()", pod) for pod in pods}
    began = time.monotonic()
    configuration = {"postgresql": {"parameters": {"work_mem": "7MB"}}}
    cluster.change(lambda spec: spec.setdefault("patroni", {}).update(dynamicConfiguration=configuration))
    for pod in pods:
        until(f"work_mem on {pod}", partial(shows, cluster, pod, "work_mem", "7MB"), 40, cluster.explain)
    emit(f"a parameter took effect everywhere after {time.monotonic() - began:.1f} s")
    assert {pod: cluster.psql("SELECT pg_postmaster_start_time()", pod) for pod in pods} == started


def test_a_parameter_that_needs_a_restart_gets_it(cluster: Cluster) -> None:
    """PostgreSQL restarts in its container; until then a condition names the pending instances."""
    pods = sorted(names(cluster.instances()))
    began = time.monotonic()
    configuration = {"postgresql": {"parameters": {"max_connections": 107}}}
    cluster.change(lambda spec: spec.setdefault("patroni", {}).update(dynamicConfiguration=configuration))
    until(
        "the condition PendingRestart",
        lambda: cluster.condition("PendingRestart").get("status") == "True",
        60,
        cluster.explain,
        1,
    )
    for pod in pods:
        until(
            f"max_connections on {pod}",
            partial(shows, cluster, pod, "max_connections", "107"),
            180,
            cluster.explain,
            1,
        )
    until("nothing waits", lambda: cluster.condition("PendingRestart") == {}, 120, cluster.explain, 1)
    cluster.wait_ready()
    emit(f"a parameter that needs a restart took effect after {time.monotonic() - began:.1f} s")


@pytest.mark.parametrize(
    ("name", "value", "cause"),
    [
        ("shared_buffers", "8000GB", "but the memory limit of instance set instance1 is"),
        ("superuser_reserved_connections", "150", 'must be less than "max_connections"'),
    ],
)
def test_a_parameter_that_postgresql_cannot_start_with_stops_nothing(
    cluster: Cluster, name: str, value: str, cause: str
) -> None:
    """The first value is refused by its size, the second by a server that was tried beside the primary."""
    pods = sorted(names(cluster.instances()))
    started = {pod: cluster.psql("SELECT pg_postmaster_start_time()", pod) for pod in pods}

    def set_parameters(**parameters: object) -> None:
        configuration = {"postgresql": {"parameters": {"max_connections": 107} | parameters}}
        cluster.change(lambda spec: spec.setdefault("patroni", {}).update(dynamicConfiguration=configuration))

    began = time.monotonic()
    set_parameters(**{name: value})
    until(
        "the condition has the cause",
        lambda: cause in cluster.condition("Degraded").get("message", ""),
        60,
        cluster.explain,
    )
    emit(f"{name} = {value}: in the status after {time.monotonic() - began:.1f} s")
    assert cluster.condition("Degraded")["reason"] == "ParameterImpossible"
    set_parameters(work_mem="9MB")
    for pod in pods:
        until(f"work_mem on {pod}", partial(shows, cluster, pod, "work_mem", "9MB"), 40, cluster.explain)
    until(
        "nothing is wrong", lambda: cluster.condition("Degraded").get("status") != "True", 60, cluster.explain
    )
    assert cluster.condition("PendingRestart") == {}
    assert {pod: cluster.psql("SELECT pg_postmaster_start_time()", pod) for pod in pods} == started


def test_a_changed_major_version_changes_nothing(cluster: Cluster, client: Client) -> None:
    """No pod restarts (`only_pods_that_may`), archiving goes on, and one sentence says what to do."""
    version = cluster.manifest["spec"]["postgresVersion"]
    uri, config = cluster.credentials()["pgbouncer-uri"], naming.pgbackrest_config(NAME)
    before = cluster.kubectl.get("configmaps", config)["data"]
    cluster.change(lambda spec: spec.update(postgresVersion=version - 1))

    def refused() -> bool:
        return cluster.condition("Degraded").get("reason") == "WrongPostgresVersion"

    until("the condition names the version", refused, 60, cluster.explain)
    assert f"set the field to {version} again" in cluster.condition("Degraded")["message"]
    client.sql(uri, "CREATE TABLE meanwhile (n int)")
    segment = cluster.psql("SELECT pg_walfile_name(pg_switch_wal())")
    archived = f"SELECT last_archived_wal >= '{segment}' FROM pg_stat_archiver"
    until("WAL is archived", lambda: cluster.psql(archived) == "t", 60, cluster.explain)
    assert cluster.kubectl.get("configmaps", config)["data"] == before
    cluster.change(lambda spec: spec.update(postgresVersion=version))
    cluster.wait_ready()
    client.sql(uri, "DROP TABLE meanwhile")


def test_certificates_are_issued_again_and_served(cluster: Cluster, client: Client) -> None:
    server, pooler = naming.cluster_certificate(NAME), naming.pgbouncer(NAME)
    namespace = cluster.kubectl.namespace
    hosts = {"PostgreSQL": f"{NAME}-primary.{namespace}.svc", "pgBouncer": pooler_host(NAME, namespace)}
    old = {name: client.fingerprint(host) for name, host in hosts.items()}
    assert all(old.values())
    password = cluster.secret(pooler)["pgbouncer-password"]
    began = time.monotonic()
    for name in (server, naming.replication_certificate(NAME)):
        cluster.kubectl.run("delete", "secret", name)
    gone = {"data": {"pgbouncer-frontend.crt": None, "pgbouncer-frontend.key": None}}
    cluster.kubectl.patch("secret", pooler, gone)
    until("they are issued again", lambda: cluster.secret(server)["tls.crt"], 30, cluster.explain)
    until("pgBouncer's too", lambda: cluster.secret(pooler)["pgbouncer-frontend.crt"], 30, cluster.explain)
    emit(f"certificates were reissued after {time.monotonic() - began:.1f} s")
    stored = {
        "PostgreSQL": cluster.secret(server)["tls.crt"],
        "pgBouncer": cluster.secret(pooler)["pgbouncer-frontend.crt"],
    }
    for name, host in hosts.items():
        wanted = client.fingerprint_of(stored[name])
        assert wanted != old[name]

        def served(host: str = host, wanted: str = wanted) -> bool:
            return {client.fingerprint(host) for _ in range(6)} == {wanted}

        until(f"{name} presents the new certificate everywhere", served, 150, cluster.explain, 2)
        emit(f"{name} presented the certificate after {time.monotonic() - began:.1f} s")
    assert cluster.secret(pooler)["pgbouncer-password"] == password
    cluster.wait_ready(60)
    assert client.sql(cluster.credentials()["pgbouncer-uri"], "SELECT 1") == "1"
    assert cluster.psql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "2"
