"""What the Secrets hold: kept while it is sound, made anew when it is not."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pgoperator import labels, pki
from pgoperator.api.cluster import PGCluster
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.store import Store
from pgoperator.postgres import scram
from reconcilers.pgcluster.credentials import (
    act_secrets,
    act_write_secret,
    build_certificates,
    build_passwords,
)
from reconcilers.pgcluster.credentials.build_certificates import Issuer, Names
from reconcilers.pgcluster.credentials.build_passwords import Data, DesiredData
from reconcilers.pgcluster.credentials.read_user_secrets import LoadedSecret, UserSupplied
from reconcilers.pgcluster.database import decide_users
from reconcilers.pgcluster.instances import decide_membership
from reconcilers.pgcluster.state.findings import Problem
from reconcilers.pgcluster.state.view import Observed
from tests.support.views import NOW, cluster_manifest
from tests.unit.pgcluster.specs import VARIANTS

NAMES = Names("cluster1", "ns1", "cluster.local")
DAY = timedelta(days=1)
ROOT = build_certificates.certificate_authority({}, "cluster1", NOW)
CA = pki.Pair(ROOT["root.crt"], ROOT["root.key"])
OTHER_CA = pki.new_ca("other", NOW)


def parsed(**spec: Any) -> PGCluster:
    return PGCluster.parse(cluster_manifest(**spec))


def user_secret(old: Data | None = None, name: str = "cluster1", **spec: Any) -> dict[str, bytes]:
    """The Secret of the user of that name."""
    cluster = parsed(**spec)
    [user] = [one for one in decide_users.effective(cluster) if one.name == name]
    return build_passwords.user_secret(cluster, user)(old or {})


# --- passwords -----------------------------------------------------------------------------------------


def test_a_new_user_gets_a_password_its_verifier_and_addresses() -> None:
    secret = user_secret()
    assert set(secret) == {
        *("user", "password", "verifier", "host", "port", "dbname", "uri", "jdbc-uri"),
        *("pgbouncer-host", "pgbouncer-port", "pgbouncer-uri", "pgbouncer-jdbc-uri"),
    }
    assert len(secret["password"]) == 24
    assert scram.matches(secret["verifier"].decode(), secret["password"].decode())
    assert secret["user"] == secret["dbname"] == b"cluster1"
    assert (secret["host"], secret["port"]) == (b"cluster1-primary.ns1.svc", b"5432")
    assert (secret["pgbouncer-host"], secret["pgbouncer-port"]) == (b"cluster1-pgbouncer.ns1.svc", b"5432")


def test_no_two_passwords_are_alike() -> None:
    assert len({user_secret()["password"] for _ in range(20)}) == 20


def test_a_password_of_letters_and_digits_has_nothing_else() -> None:
    plain = [{"name": "app", "password": {"type": "AlphaNumeric"}}]
    made = "".join(user_secret(name="app", users=plain)["password"].decode() for _ in range(20))
    assert made.isalnum()
    mixed = "".join(user_secret()["password"].decode() for _ in range(20))
    assert not mixed.isalnum()


@pytest.mark.parametrize("password", ["x", "p w", "pass\n", "häß€", "a/b@c:d?e&f=g%h", "'\"\\$"])
def test_a_password_of_the_user_s_own_is_kept_byte_for_byte(password: str) -> None:
    secret = user_secret({"password": password.encode()})
    assert secret["password"] == password.encode()
    assert scram.matches(secret["verifier"].decode(), password)


def test_what_is_complete_stays_as_it_is() -> None:
    secret = user_secret()
    assert user_secret(secret) == secret


def test_a_password_changed_alone_makes_a_new_verifier() -> None:
    old = user_secret()
    new = user_secret(old | {"password": b"changed"})
    assert new["password"] == b"changed"
    assert new["verifier"] != old["verifier"]
    assert scram.matches(new["verifier"].decode(), "changed")
    assert b":changed@" in new["uri"]
    assert b":changed@" in new["pgbouncer-uri"]


@pytest.mark.parametrize("cleared", [{"password": b""}, {"password": b"", "verifier": b""}])
def test_a_cleared_password_is_made_anew(cleared: Data) -> None:
    old = user_secret()
    new = user_secret({**old, **cleared})
    assert len(new["password"]) == 24
    assert new["password"] != old["password"]
    assert scram.matches(new["verifier"].decode(), new["password"].decode())


@pytest.mark.parametrize("verifier", [b"", b"md5abc", b"\xff", b"SCRAM-SHA-256$0:!$:"])
def test_a_broken_verifier_is_made_anew_and_the_password_stays(verifier: bytes) -> None:
    old = user_secret()
    new = user_secret(old | {"verifier": verifier})
    assert new["password"] == old["password"]
    assert scram.matches(new["verifier"].decode(), old["password"].decode())


def test_keys_of_others_stay() -> None:
    assert user_secret(user_secret() | {"mine": b"\x00\xff"})["mine"] == b"\x00\xff"


@pytest.mark.parametrize("name", ["user", "pooler"])
def test_a_password_that_is_no_text_is_refused_and_nothing_is_made(name: str) -> None:
    wanted: dict[str, Callable[[], object]] = {
        "user": lambda: user_secret({"password": b"\xff\xfe"}),
        "pooler": lambda: build_passwords.pooler_accounts("cluster1")({"pgbouncer-password": b"\xff"}),
    }
    with pytest.raises(InvalidSpec, match="not UTF-8") as refused:
        wanted[name]()
    assert refused.value.reason == "SecretInvalid"


# --- addresses -----------------------------------------------------------------------------------------


def test_uris_are_escaped() -> None:
    password = "a/b@c:d?e&f=g%h ü+#"
    secret = user_secret({"password": password.encode()}, port=6000)
    address = urlsplit(secret["uri"].decode())
    assert unquote(address.password or "") == password
    assert (address.username, address.hostname, address.port) == (
        "cluster1",
        "cluster1-primary.ns1.svc",
        6000,
    )
    assert address.path == "/cluster1"
    query = urlsplit(secret["jdbc-uri"].decode().removeprefix("jdbc:")).query
    assert dict(part.split("=") for part in query.split("&")).keys() == {"password", "user"}
    assert unquote(query.split("&")[0].removeprefix("password=")) == password


def test_through_the_pooler_jdbc_counts_on_no_prepared_statements() -> None:
    secret = user_secret(proxy={"pgBouncer": {"port": 6432}})
    assert secret["pgbouncer-jdbc-uri"].endswith(b"&prepareThreshold=0")
    assert b"prepareThreshold" not in secret["jdbc-uri"]
    assert b"@cluster1-pgbouncer.ns1.svc:6432/cluster1" in secret["pgbouncer-uri"]


@pytest.mark.parametrize("proxy", [None, {"pgBouncer": {"replicas": 0}}])
def test_without_a_pooler_there_are_no_addresses_of_it(proxy: Any) -> None:
    assert not [key for key in user_secret(proxy=proxy) if key.startswith("pgbouncer-")]


def test_a_pooler_that_went_takes_its_addresses_with_it() -> None:
    old = user_secret()
    new = user_secret(old, proxy=None)
    assert {key for key in old if key not in new} == {
        "pgbouncer-host",
        "pgbouncer-port",
        "pgbouncer-uri",
        "pgbouncer-jdbc-uri",
    }
    assert new["password"] == old["password"]


def test_a_user_without_databases_has_a_host_and_no_uri() -> None:
    secret = user_secret(name="app", users=[{"name": "app"}])
    assert set(secret) == {"user", "password", "verifier", "host", "port", "pgbouncer-host", "pgbouncer-port"}


def test_a_database_taken_away_takes_its_addresses_with_it() -> None:
    old = user_secret(name="app", users=[{"name": "app", "databases": ["one"]}])
    assert {"dbname", "uri"} <= old.keys()
    assert (
        not {"dbname", "uri", "pgbouncer-uri"} & user_secret(old, name="app", users=[{"name": "app"}]).keys()
    )


def test_the_first_database_is_the_one_of_the_addresses() -> None:
    secret = user_secret(name="app", users=[{"name": "app", "databases": ["zoo", "ark"]}])
    assert secret["dbname"] == b"zoo"


@pytest.mark.parametrize(
    ("user", "pooler", "offered"),
    [
        ({"name": "app"}, {}, True),
        ({"name": "app", "options": "CREATEDB NOSUPERUSER"}, {}, True),
        ({"name": "app", "options": "no such option"}, {}, True),
        ({"name": "app", "options": "SUPERUSER"}, {}, False),
        ({"name": "app", "options": "SUPERUSER"}, {"exposeSuperusers": True}, True),
        ({"name": "app", "options": "REPLICATION"}, {"exposeSuperusers": True}, False),
        ({"name": "postgres"}, {}, False),
        ({"name": "postgres"}, {"exposeSuperusers": True}, True),
        ({"name": "postgres"}, {"usersSecret": {"name": "own"}}, True),
    ],
)
def test_an_address_that_pgbouncer_refuses_is_not_offered(
    user: dict[str, Any], pooler: dict[str, Any], offered: bool
) -> None:
    proxy = {"pgBouncer": {"replicas": 1, **pooler}}
    users = [user | {"databases": ["shop"]}]
    keys = user_secret({"pgbouncer-uri": b"former"}, name=user["name"], users=users, proxy=proxy)
    assert ("pgbouncer-uri" in keys, "pgbouncer-host" in keys) == (offered, offered)
    assert {"host", "uri"} < keys.keys()


def test_the_authorities_are_beside_the_address() -> None:
    cluster, issuer = parsed(), Issuer(CA, NAMES, NOW)
    secrets = act_secrets.desired_secrets(cluster, issuer, [], UserSupplied(), backups_enabled=False)
    [of_user] = [desired for metadata, desired in secrets if metadata["name"] == "cluster1-pguser-cluster1"]
    assert of_user({})["ca.crt"] == ROOT["root.crt"]
    own = LoadedSecret({"tls.crt": b"-", "tls.key": b"-", "ca.crt": OTHER_CA.cert})
    both = act_secrets.desired_secrets(cluster, issuer, [], UserSupplied(pooler=own), backups_enabled=False)
    [of_user] = [desired for metadata, desired in both if metadata["name"] == "cluster1-pguser-cluster1"]
    assert ROOT["root.crt"] in of_user({})["ca.crt"]
    assert OTHER_CA.cert in of_user({})["ca.crt"]
    broken = UserSupplied(pooler=LoadedSecret(problem=Problem("TLSSecretsInvalid", "x")))
    kept = act_secrets.desired_secrets(cluster, issuer, [], broken, backups_enabled=False)
    [of_user] = [desired for metadata, desired in kept if metadata["name"] == "cluster1-pguser-cluster1"]
    assert of_user({"ca.crt": b"former"})["ca.crt"] == b"former"


def test_the_user_postgres_has_the_database_postgres() -> None:
    assert user_secret(name="postgres", users=[{"name": "postgres"}])["dbname"] == b"postgres"


# --- which users ---------------------------------------------------------------------------------------


def test_users_are_those_of_the_spec_or_one_named_after_the_cluster() -> None:
    assert [(u.name, u.databases) for u in decide_users.effective(parsed())] == [("cluster1", ("cluster1",))]
    assert decide_users.effective(parsed(users=[])) == ()
    listed = parsed(users=[{"name": "b", "databases": ["y", "x"]}, {"name": "a", "databases": ["x"]}])
    assert [u.name for u in decide_users.effective(listed)] == ["b", "a"]
    assert decide_users.databases(decide_users.effective(listed)) == ["x", "y"]


def test_reserved_names_are_nobody_s() -> None:
    assert decide_users.effective(parsed(users=[{"name": "monitor"}, {"name": "logicalrepl"}])) == ()


def test_a_cluster_whose_name_is_no_user_s_name_must_list_users() -> None:
    with pytest.raises(InvalidSpec) as refused:
        decide_users.effective(parsed(name="a.b"))
    assert refused.value.reason == "InvalidUser"


# --- certificates --------------------------------------------------------------------------------------

INSTANCE = "cluster1-a-bcdf"
PAIRS: dict[str, tuple[tuple[str, str], Callable[[Issuer], DesiredData]]] = {
    "server": (("tls.crt", "tls.key"), lambda i: build_certificates.server_certificate(i, None, root(i))),
    "replication": (
        ("tls.crt", "tls.key"),
        lambda i: build_certificates.replication_certificate(i, None, root(i)),
    ),
    "patroni": (("dns.crt", "dns.key"), lambda i: build_certificates.instance_certificates(i, INSTANCE)),
    "pgbackrest-server": (
        ("pgbackrest-server.crt", "pgbackrest-server.key"),
        lambda i: build_certificates.instance_certificates(i, INSTANCE),
    ),
    "pgbackrest-client": (
        ("pgbackrest-client.crt", "pgbackrest-client.key"),
        lambda i: build_certificates.pgbackrest_certificates(i, "uid-1"),
    ),
    "repo-host": (
        ("pgbackrest-repo-host.crt", "pgbackrest-repo-host.key"),
        lambda i: build_certificates.pgbackrest_certificates(i, "uid-1"),
    ),
    "pooler": (("pgbouncer-frontend.crt", "pgbouncer-frontend.key"), build_certificates.pooler_certificate),
}


def root(issuer: Issuer) -> bytes:
    assert issuer.ca is not None
    return issuer.ca.cert


every_pair = pytest.mark.parametrize("which", PAIRS)


def made(
    which: str, old: Data, *, ca: pki.Pair = CA, names: Names = NAMES, now: datetime = NOW
) -> dict[str, bytes]:
    return PAIRS[which][1](Issuer(ca, names, now))(old)


def leaf(which: str, data: Data) -> x509.Certificate:
    return x509.load_pem_x509_certificate(data[PAIRS[which][0][0]])


def sans(certificate: x509.Certificate) -> set[str]:
    value = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(value.get_values_for_type(x509.DNSName))


def common_name(certificate: x509.Certificate) -> object:
    return certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value


@every_pair
def test_a_pair_is_signed_by_the_authority_and_kept_while_it_is_sound(which: str) -> None:
    data = made(which, {})
    leaf(which, data).verify_directly_issued_by(x509.load_pem_x509_certificate(CA.cert))
    assert made(which, data) == data
    assert made(which, data, now=NOW + 200 * DAY) == data


@every_pair
def test_a_pair_is_renewed_when_two_thirds_of_its_life_are_over(which: str) -> None:
    data = made(which, {})
    old = leaf(which, data)
    due = old.not_valid_before_utc + (old.not_valid_after_utc - old.not_valid_before_utc) * 2 / 3
    assert made(which, data, now=due - timedelta(minutes=1)) == data
    renewed = made(which, data, now=due)
    assert leaf(which, renewed).not_valid_after_utc > old.not_valid_after_utc
    assert all(renewed[key] != data[key] for key in PAIRS[which][0])


@every_pair
def test_another_authority_issues_anew(which: str) -> None:
    data = made(which, {})
    new = made(which, data, ca=OTHER_CA)
    leaf(which, new).verify_directly_issued_by(x509.load_pem_x509_certificate(OTHER_CA.cert))
    assert OTHER_CA.cert in new.values()
    assert CA.cert not in new.values()


@pytest.mark.parametrize("which", ["server", "patroni", "pgbackrest-server", "repo-host", "pooler"])
def test_another_domain_issues_anew(which: str) -> None:
    data = made(which, {})
    new = made(which, data, names=Names("cluster1", "ns1", "other.example"))
    assert any(name.endswith("other.example") for name in sans(leaf(which, new)))
    assert new[PAIRS[which][0][0]] != data[PAIRS[which][0][0]]


@every_pair
@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("value", [b"", b"garbage", b"\xff"])
def test_a_broken_half_issues_anew(which: str, part: int, value: bytes) -> None:
    data = made(which, {})
    key = PAIRS[which][0][part]
    new = made(which, data | {key: value})
    assert new[key] not in (value, data[key])


@every_pair
def test_keys_of_others_stay_beside_certificates(which: str) -> None:
    assert made(which, made(which, {}) | {"mine": b"1"})["mine"] == b"1"


def test_keys_are_those_of_percona_operator() -> None:
    instance = build_certificates.instance_certificates(Issuer(CA, NAMES, NOW), INSTANCE)({})
    assert set(instance) == {
        *("dns.crt", "dns.key", "patroni.ca-roots", "patroni.crt-combined"),
        *("pgbackrest-server.crt", "pgbackrest-server.key"),
    }
    assert instance["patroni.crt-combined"] == instance["dns.key"] + instance["dns.crt"]
    assert set(made("server", {})) == set(made("replication", {})) == {"tls.crt", "tls.key", "ca.crt"}
    assert set(made("repo-host", {})) == {
        *("pgbackrest.ca-roots", "pgbackrest-client.crt", "pgbackrest-client.key"),
        *("pgbackrest-repo-host.crt", "pgbackrest-repo-host.key"),
    }
    assert set(made("pooler", {})) == {
        *("pgbouncer-frontend.ca-roots", "pgbouncer-frontend.crt", "pgbouncer-frontend.key"),
    }


def test_names_are_those_by_which_each_is_asked_for() -> None:
    server = sans(leaf("server", made("server", {})))
    for service in ("cluster1-primary", "cluster1-replicas"):
        forms = (service, f"{service}.ns1", f"{service}.ns1.svc", f"{service}.ns1.svc.cluster.local")
        assert set(forms) <= server
    # What pgBackRest and Patroni get as the address of a member.
    assert "cluster1-a-bcdf-0.cluster1-pods" in sans(leaf("patroni", made("patroni", {})))
    assert "cluster1-repo-host-0.cluster1-pods" in sans(leaf("repo-host", made("repo-host", {})))
    assert "cluster1-pgbouncer.ns1.svc" in sans(leaf("pooler", made("pooler", {})))
    assert common_name(leaf("replication", made("replication", {}))) == "_crunchyrepl"
    assert common_name(leaf("pgbackrest-client", made("pgbackrest-client", {}))) == "pgbackrest@uid-1"


def test_a_cluster_created_anew_gets_a_client_certificate_for_its_new_uid() -> None:
    data = made("pgbackrest-client", {})
    new = build_certificates.pgbackrest_certificates(Issuer(CA, NAMES, NOW), "uid-2")(data)
    assert common_name(leaf("pgbackrest-client", new)) == "pgbackrest@uid-2"
    assert new["pgbackrest-repo-host.crt"] == data["pgbackrest-repo-host.crt"]


# --- the pooler's account ------------------------------------------------------------------------------


def test_the_pooler_s_account_is_listed_and_fits_its_verifier() -> None:
    data = build_passwords.pooler_accounts("cluster1")({})
    password, admin = data["pgbouncer-password"].decode(), data["pgbouncer-admin-password"].decode()
    assert len(password) == len(admin) == 32
    assert scram.matches(data["pgbouncer-verifier"].decode(), password)
    assert data["pgbouncer-users.txt"].decode().splitlines() == [
        f'"_crunchypgbouncer" "{password}"',
        f'"_crunchypgbounceradmin" "{admin}"',
    ]


def test_the_pooler_s_password_follows_the_secret() -> None:
    old = build_passwords.pooler_accounts("cluster1")({})
    new = build_passwords.pooler_accounts("cluster1")(old | {"pgbouncer-password": b"changed"})
    assert new["pgbouncer-password"] == b"changed"
    assert scram.matches(new["pgbouncer-verifier"].decode(), "changed")
    assert b'"_crunchypgbouncer" "changed"' in new["pgbouncer-users.txt"]
    assert new["pgbouncer-admin-password"] == old["pgbouncer-admin-password"]


# --- the authority -------------------------------------------------------------------------------------


def test_an_authority_is_made_once() -> None:
    again = build_certificates.certificate_authority(ROOT, "cluster1", NOW + 2000 * DAY)
    assert again == ROOT
    certificate = x509.load_pem_x509_certificate(ROOT["root.crt"])
    assert common_name(certificate) == "postgres-operator-ca"
    assert certificate.not_valid_after_utc - NOW == timedelta(days=3650)
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert (key.curve.name, certificate.signature_hash_algorithm.name) == ("secp256r1", "sha384")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        ({"root.key": ROOT["root.key"]}, "root.crt"),
        ({"root.crt": ROOT["root.crt"]}, "root.key"),
        ({"root.crt": ROOT["root.crt"], "root.key": b""}, "root.key"),
        ({"mine": b"1"}, "root.crt and root.key"),
        ({"root.crt": b"garbage", "root.key": ROOT["root.key"]}, "certificate is unreadable"),
        ({"root.crt": ROOT["root.crt"], "root.key": b"garbage"}, "key is unreadable"),
        ({"root.crt": ROOT["root.crt"], "root.key": OTHER_CA.key}, "does not match"),
    ],
)
def test_an_authority_that_cannot_sign_is_told_and_never_replaced(broken: Data, cause: str) -> None:
    with pytest.raises(InvalidSpec, match=cause) as refused:
        build_certificates.certificate_authority(broken, "cluster1", NOW)
    assert refused.value.reason == "SecretInvalid"
    assert "cluster1-cluster-ca-cert" in str(refused.value)
    assert ("restore the keys from a backup" in str(refused.value)) == cause.startswith("root.")


def test_a_leaf_of_an_authority_that_has_expired_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="expired"):
        made("server", {}, now=NOW + 3651 * DAY)


# --- all Secrets of a cluster --------------------------------------------------------------------------


def every_secret(**spec: Any) -> dict[str, tuple[dict[str, str], dict[str, bytes]]]:
    """Name -> labels and data."""
    cluster = parsed(**spec)
    sizes = {one.name: one.replicas for one in cluster.spec.instance_sets()}
    planned = decide_membership.planned("cluster1", sizes, Observed())
    found = act_secrets.desired_secrets(
        cluster, Issuer(CA, NAMES, NOW), planned, UserSupplied(), backups_enabled=cluster.spec.backups.enabled
    )
    return {metadata["name"]: (metadata["labels"], want({})) for metadata, want in found}


def test_a_default_cluster_has_these_secrets() -> None:
    found = every_secret()
    instances = [name for name in found if name.endswith("-certs")]
    assert len(instances) == 3
    assert set(found) - set(instances) == {
        *("cluster1-cluster-cert", "cluster1-replication-cert", "cluster1-pgbackrest", "cluster1-pgbouncer"),
        "cluster1-pguser-cluster1",
    }


def test_labels_are_those_of_percona_operator() -> None:
    found = every_secret(users=VARIANTS["users"]["users"])
    prefix = "postgres-operator.crunchydata.com/"
    assert all(one[prefix + "cluster"] == "cluster1" for one, _ in found.values())
    assert found["cluster1-cluster-cert"][0][prefix + "cluster-certificate"] == "postgres-tls"
    assert found["cluster1-replication-cert"][0][prefix + "cluster-certificate"] == "replication-client-tls"
    user = found["reader-secret"][0]
    assert (user[prefix + "role"], user[prefix + "pguser"]) == ("pguser", "reader")
    assert all(labels.recommended("cluster1").items() <= one.items() for one, _ in found.values())
    instance = next(one for name, (one, _) in found.items() if name.endswith("-certs"))
    assert instance[prefix + "instance-set"] == "instance1"
    assert f"{instance[prefix + 'instance']}-certs" in found


def test_a_feature_that_is_off_needs_no_secret() -> None:
    assert "cluster1-pgbackrest" not in every_secret(backups={"enabled": False})
    assert "cluster1-pgbouncer" not in every_secret(proxy=None)


@pytest.mark.parametrize(
    "names",
    [
        ["same", "same"],
        ["cluster1-cluster-cert"],
        ["cluster1-cluster-ca-cert"],
        ["cluster1-pguser-second", None],
    ],
)
def test_a_user_whose_secret_has_another_use_has_none(names: list[str | None]) -> None:
    """Each of the two would write its own content over the other's; all other users have theirs."""
    people = [
        {"name": user} | ({"secretName": name} if name else {})
        for user, name in zip(("first", "second"), names, strict=False)
    ]
    found = every_secret(users=[*people, {"name": "third"}])
    users = {own[labels.PGUSER] for own, _ in found.values() if labels.PGUSER in own}
    assert users == {"third"}
    cluster = parsed(users=[*people, {"name": "third"}])
    named = act_secrets._shared(cluster, [({"labels": own}, dict) for own, _ in found.values()])
    assert {problem.reason for problem in named} == {"InvalidUser"}
    assert all(f"user {a['name']!r}" in b.message for a, b in zip(people, named, strict=True))
    assert all("is already used" in problem.message for problem in named)


async def test_verifiers_do_not_block_the_event_loop() -> None:
    """With many users and expensive verifiers, the leader must still renew its Lease."""
    threads: set[int] = set()

    def want(old: Data) -> dict[str, bytes]:
        threads.add(threading.get_ident())
        return dict(old)

    shard = (store := Store()).open(kinds.SECRET, None)
    metadata = {"name": "s", "namespace": "ns", "labels": {}}
    shard.put({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"a": "Yg=="}})
    ctx = SimpleNamespace(store=store)
    assert await act_write_secret.ensure(ctx, metadata, want) == {"a": b"b"}  # type: ignore[arg-type]
    assert threads
    assert threading.get_ident() not in threads
