"""Certificates and pgBouncer accounts of the user, and a paused pgBouncer, on one instance."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from pgoperator import naming
from tests.support.certificates import Authority
from tests.support.clients import Client, pooler_host
from tests.support.clusters import Cluster, small
from tests.support.kubectl import Kubectl, KubectlError, Manifest, until

NAME = "secured"
SERVER, POOLER, ACCOUNTS = "my-server", "my-pooler", "my-accounts"
FRONT = (("crt", "tls.crt"), ("key", "tls.key"), ("ca-roots", "ca.crt"))
# kubelet may need 90 s until it has updated a mounted file.
SECONDS = 180


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster], client: Client) -> Cluster:
    made = new_cluster(small(NAME))
    made.apply()
    made.wait_ready()
    return made


@pytest.fixture(autouse=True)
def nothing_restarts(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[None]:
    cluster.wait_ready()
    before = cluster.restarts()
    yield
    if request.function not in REPLACING:
        assert cluster.restarts() == before


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.new("somebody's authority", datetime.now(UTC))


def put(kubectl: Kubectl, name: str, data: dict[str, str]) -> None:
    metadata = {"name": name}
    kubectl.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})


def primary_host(kubectl: Kubectl) -> str:
    return f"{naming.primary(NAME)}.{kubectl.namespace}.svc"


def shows(client: Client, host: str, certificate: str) -> Callable[[], bool]:
    wanted = client.fingerprint_of(certificate)
    return lambda: client.fingerprint(host) == wanted


def bouncer(spec: Manifest) -> Manifest:
    found: Manifest = spec["proxy"]["pgBouncer"]
    return found


def only_pooler(cluster: Cluster) -> Manifest:
    """The pod of pgBouncer; fails while a new pod replaces it."""
    found = cluster.poolers()
    assert len(found) == 1, [pod["metadata"]["name"] for pod in found]
    return found[0]


def test_certificates_of_the_author_are_served_and_follow_their_secrets(
    cluster: Cluster, client: Client, kubectl: Kubectl, authority: Authority
) -> None:
    host, pool = primary_host(kubectl), pooler_host(NAME, kubectl.namespace)
    server, pooler = authority.tls(naming.primary(NAME), host), authority.tls(pool)
    put(kubectl, SERVER, server)
    names = {"tls.crt": "fullchain.pem", "tls.key": "privkey.pem", "ca.crt": "ca.pem"}
    put(kubectl, POOLER, {names[key]: text for key, text in pooler.items()})
    items = [{"key": key, "path": path} for path, key in names.items()]

    def edit(spec: Manifest) -> None:
        spec["secrets"] = {"customTLSSecret": {"name": SERVER}}
        bouncer(spec)["customTLSSecret"] = {"name": POOLER, "items": items}

    cluster.change(edit)
    until("PostgreSQL shows it", shows(client, host, server["tls.crt"]), SECONDS, cluster.explain)
    until("pgBouncer shows it", shows(client, pool, pooler["tls.crt"]), SECONDS, cluster.explain)
    cluster.wait_ready()

    client.write("/tmp/roots.pem", server["ca.crt"])
    trust = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/tmp/roots.pem"}
    secret = cluster.credentials()
    until(
        "pgBouncer trusts the server's new authority",
        lambda: client.sql(secret["pgbouncer-uri"], "SELECT 1", **trust) == "1",
        SECONDS,
        cluster.explain,
    )
    assert client.sql(secret["uri"], "SELECT 1", **trust) == "1"

    server = authority.tls(naming.primary(NAME), host)
    put(kubectl, SERVER, server)
    until("PostgreSQL shows the next one", shows(client, host, server["tls.crt"]), SECONDS, cluster.explain)
    labels = kubectl.get("secret", SERVER)["metadata"].get("labels", {})
    assert labels == {}, "the author's Secret is the author's"


def test_a_bad_certificate_is_told_and_the_last_good_one_stays(
    cluster: Cluster, client: Client, kubectl: Kubectl, authority: Authority
) -> None:
    host = primary_host(kubectl)
    good, shown = cluster.secret(SERVER), client.fingerprint(host)

    def reported(reason: str, *words: str) -> bool:
        found = cluster.condition("TLSSecretsReady")
        assert found["status"] == "False", found
        return found["reason"] == reason and all(word in found["message"] for word in words)

    try:
        put(kubectl, SERVER, good | {"tls.key": authority.tls("other")["tls.key"]})
        until(
            "the condition names it",
            lambda: reported("TLSSecretsInvalid", SERVER, "tls.key"),
            60,
            cluster.explain,
        )
        assert cluster.condition("Degraded")["status"] == "True"
        put(kubectl, SERVER, authority.tls("elsewhere.example"))
        until(
            "the condition names a wrong name",
            lambda: reported("TLSSecretsInvalid", "secured-primary"),
            60,
            cluster.explain,
        )
        kubectl.delete("secret", SERVER)
        until(
            "the condition names the missing Secret",
            lambda: reported("TLSSecretsMissing", "does not exist"),
            60,
            cluster.explain,
        )
        assert client.fingerprint(host) == shown
        assert client.sql(cluster.credentials()["pgbouncer-uri"], "SELECT 1") == "1"
    finally:
        put(kubectl, SERVER, good)
    cluster.wait_ready(60)
    assert cluster.condition("TLSSecretsReady")["status"] == "True"


def test_an_account_of_the_author_s_gets_in_through_the_pooler(
    cluster: Cluster, client: Client, kubectl: Kubectl
) -> None:
    """A superuser: auth_query does not return superusers, so that only the user list can admit one."""
    cluster.psql("CREATE ROLE chief LOGIN SUPERUSER PASSWORD 'a-secret'")
    uri = f"postgresql://chief:a-secret@{pooler_host(NAME, kubectl.namespace)}/postgres"
    assert client.refused(uri)
    put(kubectl, ACCOUNTS, {"chief": "a-secret"})
    cluster.change(lambda spec: bouncer(spec).update(usersSecret={"name": ACCOUNTS}))

    def name() -> str:
        return client.sql(uri, "SELECT current_user")

    assert until("the account gets in", name, SECONDS, cluster.explain) == "chief"
    put(kubectl, ACCOUNTS, {"chief": "a-secret", "_crunchypgbouncer": "x"})
    until(
        "a name of ours is refused",
        lambda: "_crunchypgbouncer" in cluster.condition("Degraded").get("message", ""),
        60,
        cluster.explain,
    )
    assert name() == "chief"
    kubectl.patch("secret", ACCOUNTS, {"data": {"_crunchypgbouncer": None}})


def test_a_paused_pooler_holds_queries_also_after_a_restart(
    cluster: Cluster, client: Client, kubectl: Kubectl
) -> None:
    uri = cluster.credentials()["pgbouncer-uri"]
    assert client.sql(uri, "SELECT 1") == "1"

    def is_held() -> bool:
        """Assert that a query gets no answer, and no other error."""
        query = "read -r uri; timeout 3 psql -XqAtc 'SELECT 1' -d \"$uri\"; echo $?"
        return client.run("bash", "-c", query, stdin=f"{uri}\n").strip() == "124"

    def is_paused() -> bool:
        return cluster.condition("PGBouncerPaused").get("status") == "True"

    cluster.change(lambda spec: bouncer(spec).update(paused=True))
    until("it is paused", is_paused, SECONDS, cluster.explain)
    assert is_held()
    assert cluster.is_ready()
    old = only_pooler(cluster)
    kubectl.delete("pod", old["metadata"]["name"])

    def is_replaced() -> bool:
        return only_pooler(cluster)["metadata"]["uid"] != old["metadata"]["uid"] and is_paused()

    until("its successor is paused, too", is_replaced, SECONDS, cluster.explain)
    cluster.wait_ready()
    assert is_held()
    with ThreadPoolExecutor(1) as background:
        waiting = background.submit(lambda: client.sql(uri, "SELECT 1", PGCONNECT_TIMEOUT="100"))
        cluster.change(lambda spec: bouncer(spec).update(paused=False))
        assert waiting.result(SECONDS) == "1"
    until("nothing is paused", lambda: not cluster.condition("PGBouncerPaused"), SECONDS, cluster.explain)
    assert client.sql(uri, "SELECT 1") == "1"


def test_rules_of_the_author_decide_who_gets_in(cluster: Cluster, client: Client) -> None:
    uri, plain = cluster.credentials()["uri"], {"PGSSLMODE": "disable"}
    rules = [
        {"connection": "host", "method": "reject", "users": ["outsider"]},
        {"connection": "hostnossl", "method": "reject", "databases": ["postgres"]},
        {"connection": "host", "method": "reject", "hba": "host all all all scram-sha-256"},
    ]
    outsider = "CREATE ROLE outsider LOGIN PASSWORD 'x'"
    cluster.psql(outsider)
    strange = uri.replace(cluster.credentials()["password"], "x").replace(f"//{NAME}:", "//outsider:")
    cluster.change(lambda spec: spec.update(authentication={"rules": rules}))

    def gets_in() -> bool:
        return client.sql(uri, "SELECT 1", **plain) == "1"

    until("a rule without TLS lets in", gets_in, 60, cluster.explain)
    assert "rejects" in client.refused(strange)
    cluster.change(lambda spec: spec.update(tlsOnly=True))

    def is_refused() -> bool:
        try:
            return not gets_in()
        except KubectlError as error:
            return "no encryption" in str(error)

    until("connections need TLS in spite of the rule", is_refused, 60, cluster.explain)
    assert client.sql(uri, "SELECT 1") == "1"
    other = f"{uri.rpartition('/')[0]}/postgres"
    assert client.sql(other, "SELECT 1") == "1", "a rule against those without TLS spares those with it"
    assert cluster.psql("SELECT 1") == "1", "the socket is no matter of TLS"


def test_files_variables_and_containers_of_the_author_s_reach_the_pooler(
    cluster: Cluster, client: Client, kubectl: Kubectl
) -> None:
    ini = {"pgbouncer.ini": "stats_period = 77\n", "note.txt": "x"}
    kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "my-files"}, "data": ini})
    put(kubectl, "my-environment", {"COLOUR": "red"})
    container = only_pooler(cluster)["spec"]["containers"][0]
    helper = {
        **{key: container[key] for key in ("image", "securityContext")},
        "name": "helper",
        "command": ["sleep", "infinity"],
    }

    def edit(spec: Manifest) -> None:
        bouncer(spec).update(
            config={"files": [{"configMap": {"name": "my-files"}}]},
            envFrom=[{"secretRef": {"name": "my-environment"}}],
            sidecars=[helper],
        )

    cluster.change(edit)
    names = {"pgbouncer", "helper"}

    def replaced() -> bool:
        return {c["name"] for c in only_pooler(cluster)["spec"]["containers"]} == names

    until("the pod has what was added", replaced, SECONDS, cluster.explain)
    cluster.wait_ready()
    secret = cluster.secret(naming.pgbouncer(NAME))
    host, password = pooler_host(NAME, kubectl.namespace), secret["pgbouncer-admin-password"]
    shown = client.run(
        *("bash", "-c", "read -r PGPASSWORD; export PGPASSWORD; psql -XqAtc 'SHOW CONFIG' \"$0\""),
        f"host={host} user={naming.POOLER_ADMIN} dbname=pgbouncer",
        stdin=f"{password}\n",
    )
    assert "stats_period|77|" in shown, "the author's file is included"

    def colour() -> str:
        one = only_pooler(cluster)
        return kubectl.exec(one["metadata"]["name"], "printenv", "COLOUR", container="pgbouncer").strip()

    assert colour() == "red"
    put(kubectl, "my-environment", {"COLOUR": "blue"})
    until("a changed variable has the pod replaced", lambda: colour() == "blue", SECONDS, cluster.explain)
    assert client.sql(cluster.credentials()["pgbouncer-uri"], "SELECT 1") == "1"


def test_a_new_cluster_replicates_with_certificates_of_two_authorities(
    new_cluster: Callable[..., Cluster], kubectl: Kubectl, authority: Authority
) -> None:
    """The user provides the server's certificate, and another CA for the replication certificate."""
    root = Authority.new("the root", datetime.now(UTC))
    put(kubectl, "my-root", root.root)
    put(kubectl, "pair-server", authority.tls("pair-primary"))
    manifest = small(
        "pair",
        secrets={"customRootCATLSSecret": {"name": "my-root"}, "customTLSSecret": {"name": "pair-server"}},
    )
    manifest["spec"]["instances"][0]["replicas"] = 2
    pair = new_cluster(manifest)
    pair.apply()
    pair.wait_ready()
    assert pair.psql("SELECT count(*) FROM pg_stat_replication") == "1"
    assert "the root" in pair.psql("SELECT issuer_dn FROM pg_stat_ssl WHERE client_dn LIKE '%crunchyrepl%'")
    kubectl.delete("perconapgcluster", "pair")


def test_a_cluster_of_the_author_s_certificates_only_waits_for_them(
    new_cluster: Callable[..., Cluster], cluster: Cluster, kubectl: Kubectl, authority: Authority
) -> None:
    name = "waiting"
    waiting = new_cluster(small(name, tls={"certManagementPolicy": "userProvidedOnly"}))
    waiting.apply()
    instance = next(naming.instance_names(name, "instance1"))
    missing = [
        *(naming.cluster_certificate(name), naming.replication_certificate(name)),
        *(naming.pgbouncer(name), naming.instance_certificates(instance)),
    ]

    def reported() -> bool:
        found = waiting.condition("TLSSecretsReady")
        return found.get("reason") == "TLSSecretsMissing" and all(one in found["message"] for one in missing)

    until("the condition names what it waits for", reported, 60, waiting.explain)
    assert waiting.pods() == []

    server = authority.tls(naming.primary(name))
    pool = authority.tls(pooler_host(name, kubectl.namespace))
    domain = f"{kubectl.namespace}.svc"
    host = naming.pod_host(instance, name)
    rest = authority.tls(host, f"{host}.{domain}", f"{host}.{domain}.cluster.local")
    put(kubectl, naming.cluster_certificate(name), server)
    put(kubectl, naming.replication_certificate(name), authority.tls(naming.REPLICATION_USER))
    put(kubectl, naming.pgbouncer(name), {f"pgbouncer-frontend.{key}": pool[file] for key, file in FRONT})
    own = {"dns.crt": rest["tls.crt"], "dns.key": rest["tls.key"], "patroni.ca-roots": rest["ca.crt"]}
    put(kubectl, naming.instance_certificates(instance), own)
    waiting.wait_ready()
    assert waiting.secret(naming.cluster_certificate(name)) == server, "taken as it is"
    assert kubectl.find("secret", naming.cluster_ca(name)) is None, "nothing was made"
    assert cluster.is_ready()


REPLACING = (
    test_a_paused_pooler_holds_queries_also_after_a_restart,
    test_files_variables_and_containers_of_the_author_s_reach_the_pooler,
)
