"""The example cluster, from `kubectl apply` to rows on every replica, with its objects and guarantees."""

import base64
import json
import re
import time
from collections.abc import Callable
from functools import partial

import pytest

from pgoperator import labels, naming
from tests.support.audit import AuditLog, by_verb
from tests.support.clients import Client
from tests.support.clusters import Cluster
from tests.support.kubectl import Kubectl, Manifest, condition, is_ready, until
from tests.support.operators import Operator
from tests.support.output import emit

NAME = "cluster1"
C, P = labels.CRUNCHY, labels.PERCONA
RECOMMENDED = {
    "app.kubernetes.io/name": "percona-postgresql",
    "app.kubernetes.io/instance": NAME,
    "app.kubernetes.io/managed-by": "percona-postgresql-operator",
    "app.kubernetes.io/part-of": "percona-postgresql",
}
ROLE, CLUSTER, INSTANCE, SET = C + "role", C + "cluster", C + "instance", C + "instance-set"


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster], client: Client, operator: Operator) -> Cluster:
    """The example cluster; prints the time until it is ready."""
    from local import cluster as kubernetes

    audit = AuditLog(kubernetes.SERVER.audit_log)
    made = new_cluster()
    began = time.monotonic()
    made.apply()
    made.wait_ready()
    seconds = time.monotonic() - began
    requests = by_verb(audit.entries(operator.user))
    emit(f"apply to ready: {seconds:.1f} s; requests of the operator: {requests}")
    return made


def instance_names(cluster: Cluster) -> list[str]:
    return cluster.kubectl.names("statefulsets", f"{cluster.selector},{INSTANCE}")


def has(found: Manifest, wanted: dict[str, str]) -> None:
    """The object has these labels."""
    have = found["metadata"].get("labels", {})
    missing = {k: v for k, v in wanted.items() if have.get(k) != v}
    assert not missing, f"{found['kind']} {found['metadata']['name']} lacks {missing}, has {have}"


def test_services(cluster: Cluster, kubectl: Kubectl) -> None:
    found = {s["metadata"]["name"]: s for s in kubectl.items("services", cluster.selector)}
    names = ("pods", "ha", "ha-config", "primary", "replicas", "pgbouncer")
    assert sorted(found) == sorted(f"{NAME}-{name}" for name in names)
    patroni = {C + "patroni": f"{NAME}-ha"} | RECOMMENDED
    has(found[f"{NAME}-ha"], patroni)
    has(found[f"{NAME}-ha-config"], patroni)
    has(found[f"{NAME}-primary"], {ROLE: "primary", "app.kubernetes.io/component": "pg"} | RECOMMENDED)
    has(found[f"{NAME}-replicas"], {ROLE: "replica", "app.kubernetes.io/component": "pg"} | RECOMMENDED)
    has(
        found[f"{NAME}-pgbouncer"],
        {ROLE: "pgbouncer", "app.kubernetes.io/component": "pgbouncer"} | RECOMMENDED,
    )

    def ports(name: str) -> list[tuple[str, int, object]]:
        return [
            (p["name"], p["port"], p["targetPort"]) for p in found[f"{NAME}-{name}"]["spec"].get("ports", [])
        ]

    assert ports("ha") == [("postgres", 5432, "postgres")]
    assert ports("replicas") == [("postgres", 5432, "postgres")]
    assert ports("pgbouncer") == [("pgbouncer", 5432, "pgbouncer")]
    assert [(n, p) for n, p, _ in ports("primary")] == [("postgres", 5432)]
    assert ports("pods") == ports("ha-config") == []
    for name in ("pods", "ha-config", "primary"):
        assert found[f"{NAME}-{name}"]["spec"]["clusterIP"] == "None", name
    for name in ("ha", "replicas", "pgbouncer"):
        assert found[f"{NAME}-{name}"]["spec"]["type"] == "ClusterIP", name
    assert found[f"{NAME}-pods"]["spec"]["publishNotReadyAddresses"] is True
    assert "selector" not in found[f"{NAME}-ha"]["spec"]
    assert "selector" not in found[f"{NAME}-primary"]["spec"]
    assert found[f"{NAME}-replicas"]["spec"]["selector"] == {CLUSTER: NAME, ROLE: "replica"}
    assert found[f"{NAME}-pgbouncer"]["spec"]["selector"] == {CLUSTER: NAME, ROLE: "pgbouncer"}


def test_endpoints(cluster: Cluster, kubectl: Kubectl) -> None:
    def addresses(name: str) -> list[str]:
        subsets = kubectl.get("endpoints", f"{NAME}-{name}").get("subsets", [])
        return sorted(a["ip"] for s in subsets for a in s.get("addresses", []))

    assert addresses("ha") == [cluster.primary()["status"]["podIP"]]
    assert addresses("replicas") == sorted(p["status"]["podIP"] for p in cluster.replicas())
    assert addresses("primary") == [kubectl.get("service", f"{NAME}-ha")["spec"]["clusterIP"]]
    annotations = kubectl.get("endpoints", f"{NAME}-ha-config")["metadata"]["annotations"]
    assert annotations["initialize"].isdecimal()
    assert json.loads(annotations["config"])["ttl"] == 30


def test_config_maps(cluster: Cluster, kubectl: Kubectl) -> None:
    found = {m["metadata"]["name"]: m for m in kubectl.items("configmaps", cluster.selector)}
    assert "patroni.yaml" in found[f"{NAME}-config"]["data"]
    for instance in instance_names(cluster):
        assert "patroni.yaml" in found[f"{instance}-config"]["data"]
        has(found[f"{instance}-config"], {INSTANCE: instance, SET: "instance1"})
    backrest = {"pgbackrest_instance.conf", "pgbackrest_repo.conf", "pgbackrest-server.conf", "config-hash"}
    assert backrest <= found[f"{NAME}-pgbackrest-config"]["data"].keys()
    has(found[f"{NAME}-pgbackrest-config"], {C + "pgbackrest": "", C + "pgbackrest-config": ""})
    assert {"pgbouncer.ini", "pgbouncer-empty"} <= found[f"{NAME}-pgbouncer"]["data"].keys()


def test_secrets(cluster: Cluster, kubectl: Kubectl) -> None:
    found = {s["metadata"]["name"]: s for s in kubectl.items("secrets", cluster.selector)}
    instance = {
        "dns.crt", "dns.key", "patroni.ca-roots", "patroni.crt-combined",
        "pgbackrest-server.crt", "pgbackrest-server.key",
    }  # fmt: skip
    user = {
        "user", "password", "verifier", "host", "port", "dbname", "uri", "jdbc-uri",
        "pgbouncer-host", "pgbouncer-port", "pgbouncer-uri", "pgbouncer-jdbc-uri", "ca.crt",
    }  # fmt: skip
    wanted = {
        f"{NAME}-cluster-ca-cert": {"root.crt", "root.key"},
        f"{NAME}-cluster-cert": {"tls.crt", "tls.key", "ca.crt"},
        f"{NAME}-replication-cert": {"tls.crt", "tls.key", "ca.crt"},
        f"{NAME}-pgbackrest": {
            "pgbackrest.ca-roots", "pgbackrest-client.crt", "pgbackrest-client.key",
            "pgbackrest-repo-host.crt", "pgbackrest-repo-host.key",
        },
        f"{NAME}-pgbouncer": {
            "pgbouncer-users.txt", "pgbouncer-password", "pgbouncer-verifier", "pgbouncer-admin-password",
            "pgbouncer-frontend.ca-roots", "pgbouncer-frontend.crt", "pgbouncer-frontend.key",
        },
        f"{NAME}-pguser-{NAME}": user,
    } | {f"{name}-certs": instance for name in instance_names(cluster)}  # fmt: skip
    assert sorted(found) == sorted(wanted)
    lacking = {name: keys - found[name]["data"].keys() for name, keys in wanted.items()}
    assert not {name: keys for name, keys in lacking.items() if keys}
    for name in wanted.keys() - {f"{NAME}-cluster-ca-cert"}:
        assert "ownerReferences" not in found[name]["metadata"], f"{name} would go with the custom resource"
    has(found[f"{NAME}-pguser-{NAME}"], {ROLE: "pguser", C + "pguser": NAME} | RECOMMENDED)
    has(found[f"{NAME}-cluster-cert"], {C + "cluster-certificate": "postgres-tls"})
    has(found[f"{NAME}-replication-cert"], {C + "cluster-certificate": "replication-client-tls"})
    data = cluster.credentials()
    namespace = kubectl.namespace
    assert data["user"] == data["dbname"] == NAME
    assert data["host"] == f"{NAME}-primary.{namespace}.svc"
    assert data["pgbouncer-host"] == f"{NAME}-pgbouncer.{namespace}.svc"
    assert data["port"] == data["pgbouncer-port"] == "5432"
    assert data["verifier"].startswith("SCRAM-SHA-256$4096:")
    assert len(data["password"]) == 24
    assert data["uri"].startswith(f"postgresql://{NAME}:")
    assert data["jdbc-uri"].startswith("jdbc:postgresql://")
    assert "prepareThreshold=0" in data["pgbouncer-jdbc-uri"]


def test_workloads(cluster: Cluster, kubectl: Kubectl) -> None:
    sets = {s["metadata"]["name"]: s for s in kubectl.items("statefulsets", cluster.selector)}
    instances = instance_names(cluster)
    assert len(instances) == 3
    assert all(re.fullmatch(rf"{NAME}-instance1-[a-z0-9]{{4}}", name) for name in instances)
    assert sorted(sets) == sorted([*instances, f"{NAME}-repo-host"])
    for name in instances:
        found = sets[name]
        own = {CLUSTER: NAME, SET: "instance1", INSTANCE: name}
        has(found, own | {C + "data": "postgres", "app.kubernetes.io/component": "pg"} | RECOMMENDED)
        assert found["spec"]["selector"]["matchLabels"] == own
        assert found["spec"]["replicas"] == 1
        assert found["spec"]["serviceName"] == f"{NAME}-pods"
        assert found["spec"]["updateStrategy"]["type"] == "OnDelete"
        template = found["spec"]["template"]
        assert template["metadata"]["labels"][C + "patroni"] == f"{NAME}-ha"
        assert template["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] == "database"
        containers = {c["name"]: c for c in template["spec"]["containers"]}
        assert {"database", "pgbackrest"} <= containers.keys()
        assert ("postgres", 5432) in [
            (p["name"], p["containerPort"]) for p in containers["database"]["ports"]
        ]
        assert template["spec"]["serviceAccountName"] == f"{NAME}-instance"
        claims = [
            v["persistentVolumeClaim"]["claimName"]
            for v in template["spec"]["volumes"]
            if "persistentVolumeClaim" in v
        ]
        assert claims == [f"{name}-pgdata"]
    has(
        sets[f"{NAME}-repo-host"],
        {C + "pgbackrest": "", C + "pgbackrest-dedicated": "", C + "data": "pgbackrest"},
    )
    deployments = kubectl.items("deployments", cluster.selector)
    assert [d["metadata"]["name"] for d in deployments] == [f"{NAME}-pgbouncer"]
    has(deployments[0], {ROLE: "pgbouncer", "app.kubernetes.io/component": "pgbouncer"} | RECOMMENDED)
    assert deployments[0]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_volumes_budgets_and_accounts(cluster: Cluster, kubectl: Kubectl) -> None:
    claims = {c["metadata"]["name"]: c for c in kubectl.items("persistentvolumeclaims", cluster.selector)}
    assert sorted(claims) == sorted([*(f"{i}-pgdata" for i in instance_names(cluster)), f"{NAME}-repo1"])
    for name in instance_names(cluster):
        has(
            claims[f"{name}-pgdata"],
            {INSTANCE: name, SET: "instance1", ROLE: "pgdata", C + "data": "postgres"},
        )
    repo = {
        C + "pgbackrest": "",
        C + "pgbackrest-repo": "repo1",
        C + "pgbackrest-volume": "",
        C + "data": "pgbackrest",
    }
    has(claims[f"{NAME}-repo1"], repo)
    assert all("ownerReferences" not in c["metadata"] for c in claims.values())
    budgets = {
        b["metadata"]["name"]: b["spec"]["minAvailable"]
        for b in kubectl.items("poddisruptionbudgets", cluster.selector)
    }
    assert budgets == {f"{NAME}-set-instance1": 1, f"{NAME}-pgbouncer": 1}
    accounts = kubectl.names("serviceaccounts,roles,rolebindings", cluster.selector)
    assert accounts.count(f"{NAME}-instance") == 3
    rules = kubectl.get("role", f"{NAME}-instance")["rules"]
    assert all("*" not in [*r["verbs"], *r["resources"], *r["apiGroups"]] for r in rules)
    written = {name for r in rules if "patch" in r["verbs"] for name in r["resourceNames"]}
    endpoints = {f"{NAME}-ha", f"{NAME}-ha-config", f"{NAME}-ha-sync", f"{NAME}-ha-failover"}
    assert written == endpoints | {pod["metadata"]["name"] for pod in cluster.instances()}


def test_status_and_conditions(cluster: Cluster, kubectl: Kubectl) -> None:
    found = cluster.cr()
    status, generation = found["status"], found["metadata"]["generation"]
    assert status["state"] == "ready"
    assert status["observedGeneration"] == generation
    assert status["host"] == f"{NAME}-pgbouncer.{kubectl.namespace}.svc"
    assert (status["postgres"]["size"], status["postgres"]["ready"]) == (3, 3)
    assert status["postgres"]["instances"] == [{"name": "instance1", "size": 3, "ready": 3}]
    assert (status["pgbouncer"]["size"], status["pgbouncer"]["ready"]) == (3, 3)
    identifier = kubectl.get("endpoints", f"{NAME}-ha-config")["metadata"]["annotations"]["initialize"]
    assert status["patroni"]["status"]["systemIdentifier"] == identifier
    assert status["pgbackrest"]["repos"][0]["name"] == "repo1"
    wanted = {"Ready": "True", "Progressing": "False", "Degraded": "False", "TLSSecretsReady": "True"}
    wanted |= {
        "ProxyAvailable": "True",
        "PGBackRestRepoHostReady": "True",
        "PGBackRestReplicaRepoReady": "True",
    }
    until(
        "all conditions are so",
        lambda: wanted == {k: cluster.condition(k).get("status") for k in wanted},
        15,
        cluster.explain,
    )
    for one in cluster.cr()["status"]["conditions"]:
        assert one["observedGeneration"] == generation, one
        assert one["reason"], one
    kubectl.run("wait", "--for=condition=Ready", f"perconapgclusters/{NAME}", "--timeout=5s")
    columns = kubectl.run("get", "pg", NAME, "--no-headers").split()
    assert columns[1:3] == [status["host"], "ready"], columns


def test_nothing_was_made_twice(cluster: Cluster, kubectl: Kubectl) -> None:
    """Workloads are created once with the final template: one generation, one revision, no restart."""
    for found in kubectl.items("statefulsets", cluster.selector):
        assert (found["metadata"]["generation"], found["status"]["observedGeneration"]) == (1, 1), found[
            "metadata"
        ]["name"]
    deployment = kubectl.get("deployment", f"{NAME}-pgbouncer")
    assert deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    assert deployment["metadata"]["generation"] == 1
    restarted = {name: counts for name, (_, counts) in cluster.restarts().items() if any(counts.values())}
    assert not restarted


def test_pods_are_restricted_and_spread(cluster: Cluster, nodes: list[str]) -> None:
    """The namespace enforces the restricted standard, so running pods prove compliance."""
    # The first backup runs at the same time.
    pods = [p for p in cluster.pods() if p["metadata"]["ownerReferences"][0]["kind"] != "Job"]
    assert len(pods) == 7
    for pod in pods:
        assert is_ready(pod), pod["metadata"]["name"]
        for container in pod["spec"]["containers"] + pod["spec"].get("initContainers", []):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, container["name"]
    if len(nodes) >= 3:
        assert len({p["spec"]["nodeName"] for p in cluster.instances()}) == 3
        assert len({p["spec"]["nodeName"] for p in cluster.poolers()}) >= 2


def test_rows_through_pgbouncer_are_on_every_replica(cluster: Cluster, client: Client) -> None:
    uri = cluster.credentials()["pgbouncer-uri"]
    client.sql(uri, "CREATE TABLE IF NOT EXISTS rows AS SELECT g AS n FROM generate_series(1, 1000) g")
    assert client.sql(uri, "SELECT count(*), sum(n) FROM rows") == "1000|500500"
    replicas = [p["metadata"]["name"] for p in cluster.replicas()]
    assert len(replicas) == 2

    def has_the_rows(replica: str) -> bool:
        query = f'SELECT count(*), sum(n), pg_is_in_recovery() FROM "{NAME}".rows'
        return cluster.psql(query, replica, NAME) == "1000|500500|t"

    for replica in replicas:
        until(f"{replica} has the rows", partial(has_the_rows, replica), 10)
    # The database user owns its schema, and the replicas' Service routes to replicas only.
    assert client.sql(uri, f"SELECT nspowner::regrole FROM pg_namespace WHERE nspname = '{NAME}'") == NAME
    direct = cluster.credentials()["uri"].replace(f"{NAME}-primary.", f"{NAME}-replicas.")
    assert {client.sql(direct, "SELECT pg_is_in_recovery()") for _ in range(4)} == {"t"}


def test_patroni_is_healthy(cluster: Cluster) -> None:
    def healthy() -> bool:
        members = cluster.patronictl()
        states = sorted((m["Role"], m["State"]) for m in members)
        assert states == [("Leader", "running"), ("Replica", "streaming"), ("Replica", "streaming")], members
        return True

    until("patronictl shows one leader and two streaming replicas", healthy, 30, cluster.explain)
    rows = cluster.psql(
        "SELECT application_name, state, ssl FROM pg_stat_replication JOIN pg_stat_ssl USING (pid) ORDER BY 1"
    )
    assert rows.splitlines() == [f"{p['metadata']['name']}|streaming|t" for p in cluster.replicas()]
    configuration = cluster.exec(cluster.primary_name(), "patronictl", "show-config")
    assert "failsafe_mode: true" in configuration


def test_wal_is_archived(cluster: Cluster) -> None:
    before = int(cluster.psql("SELECT archived_count FROM pg_stat_archiver"))
    wal = cluster.psql(
        "SELECT pg_walfile_name(pg_current_wal_lsn());"
        "SELECT pg_logical_emit_message(true, 'e2e', 'x'); SELECT pg_switch_wal()"
    ).splitlines()[0]

    def archived() -> bool:
        count, last = cluster.psql("SELECT archived_count, last_archived_wal FROM pg_stat_archiver").split(
            "|"
        )
        return int(count) > before and last >= wal

    until(f"{wal} is archived", archived, 30, cluster.explain)
    emit(f"failed archive pushes so far: {cluster.psql('SELECT failed_count FROM pg_stat_archiver')}")
    host = f"{NAME}-repo-host-0"
    info = json.loads(
        cluster.kubectl.exec(host, "pgbackrest", "info", "--output=json", container="pgbackrest")
    )
    assert [stanza["name"] for stanza in info] == ["db"]
    assert info[0]["archive"][0]["max"] >= wal, info


def test_failed_push_is_not_a_success(cluster: Cluster) -> None:
    """A weakness of Percona Operator, absent here: the exit status of archive_command is that of the push."""
    command = cluster.psql("SHOW archive_command")
    assert command not in ("", "true", "(disabled)")
    broken = command.replace("%p", "/nonexistent/000000010000000000000099").replace(
        "%f", "000000010000000000000099"
    )
    answer = cluster.exec(
        cluster.primary_name(), "bash", "-c", f"cd /tmp; {broken} >/dev/null 2>&1; echo $?", seconds=90
    )
    assert answer.strip() != "0", command


def test_tls_is_verified_and_required(cluster: Cluster, client: Client) -> None:
    data = cluster.credentials()
    client.write("/tmp/root.crt", data["ca.crt"])
    verified = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/tmp/root.crt"}
    for key in ("pgbouncer-uri", "uri"):
        assert client.sql(data[key], "SELECT 1", **verified) == "1", key
        assert "SSL" in client.refused(data[key], PGSSLMODE="disable"), key
    plain = (
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
        " WHERE NOT ssl AND client_addr IS NOT NULL"
    )
    assert cluster.psql(plain) == "0"
    wrong = data["uri"].replace(data["user"] + ":", data["user"] + ":x", 1)
    assert "authentication failed" in client.refused(wrong)


def test_nothing_secret_is_told(cluster: Cluster, kubectl: Kubectl, operator: Operator) -> None:
    secrets = {}
    for found in kubectl.items("secrets", cluster.selector):
        for key, value in found.get("data", {}).items():
            if not re.search(r"password|verifier|\.key$|users\.txt$", key):
                continue
            text = base64.b64decode(value).decode()
            for line in text.splitlines():
                if len(line) > 12 and not line.startswith("-----"):
                    secrets[line] = f"{found['metadata']['name']}: {key}"
    assert len(secrets) > 10
    shown = {
        "the operator's log": operator.log(5000),
        "events": kubectl.run("get", "events", "--output=json"),
        "the custom resource": json.dumps(cluster.cr()),
        "ConfigMaps": kubectl.run("get", "configmaps", "--output=json"),
        "workloads": kubectl.run("get", "statefulsets,deployments,pods", "--output=json"),
    }
    for pod in cluster.pods():
        shown[f"log of {pod['metadata']['name']}"] = kubectl.logs(pod["metadata"]["name"], "--all-containers")
    leaks = [
        f"{name} tells {where}"
        for name, text in shown.items()
        for secret, where in secrets.items()
        if secret in text
    ]
    assert not leaks


def test_a_database_is_reached_through_pgbouncer_however_it_was_made(
    cluster: Cluster, client: Client
) -> None:
    uri = cluster.credentials()["pgbouncer-uri"].rpartition("/")[0]
    cluster.psql("CREATE DATABASE plain TEMPLATE template0")
    try:
        cluster.psql(
            f"REVOKE CONNECT ON DATABASE plain FROM PUBLIC; GRANT CONNECT ON DATABASE plain TO {NAME}"
        )
        assert client.sql(f"{uri}/plain", "SELECT current_database()") == "plain"
    finally:
        cluster.psql("DROP DATABASE plain WITH (FORCE)")


def test_pgbouncer_limits_what_its_account_sees(cluster: Cluster) -> None:
    roles = cluster.psql(
        "SELECT rolname, rolsuper, rolcanlogin FROM pg_roles"
        " WHERE rolname IN ('_crunchypgbouncer', '_crunchyrepl') ORDER BY 1"
    )
    assert roles.splitlines() == ["_crunchypgbouncer|f|t", "_crunchyrepl|f|t"]
    assert cluster.psql("SELECT count(*) FROM pgbouncer.get_auth('postgres')") == "0"
    assert cluster.psql(f"SELECT count(*) FROM pgbouncer.get_auth('{NAME}')") == "1"


def test_events_tell_changes_of_state_only(cluster: Cluster, kubectl: Kubectl) -> None:
    events = [e for e in kubectl.items("events") if e["involvedObject"]["kind"] == "PerconaPGCluster"]
    noisy = {e["reason"]: e.get("count", 1) for e in events if (e.get("count") or 1) > 3}
    assert not noisy
    assert condition(cluster.cr(), "Ready")["status"] == "True"
    assert naming.primary(NAME) == f"{NAME}-primary"
