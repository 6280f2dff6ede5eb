"""Certificates: how long they hold, what the author brings in their place, and what remains of bad ones."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from pgoperator import pki
from pgoperator.api.cluster import PGCluster
from pgoperator.api.security import TLS
from pgoperator.errors import InvalidSpec
from reconcilers.pgcluster.credentials import (
    act_secrets,
    build_certificates,
    build_passwords,
    decide_lifetimes,
)
from reconcilers.pgcluster.credentials.build_certificates import Issuer, Names
from reconcilers.pgcluster.credentials.build_passwords import Data
from reconcilers.pgcluster.credentials.decide_lifetimes import CertificateLifetimes
from reconcilers.pgcluster.credentials.read_user_secrets import LoadedSecret, UserSupplied
from reconcilers.pgcluster.instances import decide_membership
from reconcilers.pgcluster.state.findings import Problem
from reconcilers.pgcluster.state.view import Observed
from tests.support.certificates import Authority
from tests.support.views import NOW, cluster_manifest

NAMES = Names("cluster1", "ns1", "cluster.local")
DAY = timedelta(days=1)
ROOT = build_certificates.certificate_authority({}, "cluster1", NOW)
CA = pki.Pair(ROOT["root.crt"], ROOT["root.key"])
ISSUER = Issuer(CA, NAMES, NOW)
THEIRS = Authority.new("theirs", NOW)
BAD = LoadedSecret(problem=Problem("TLSSecretsInvalid", "the reason why"))


def files(authority: Authority, *names: str, **more: Any) -> LoadedSecret:
    return LoadedSecret({name: text.encode() for name, text in authority.tls(*names, **more).items()})


def cert(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def subjects(pem: bytes) -> list[str]:
    return [one.subject.rfc4514_string() for one in x509.load_pem_x509_certificates(pem)]


def all_secrets(brought: UserSupplied, old: dict[str, Data] | None = None, **spec: Any) -> dict[str, Data]:
    """Every Secret of a cluster, given what there is already."""
    cluster = PGCluster.parse(cluster_manifest(**spec))
    sizes = {one.name: one.replicas for one in cluster.spec.instance_sets()}
    planned = decide_membership.planned("cluster1", sizes, Observed())
    issuer = Issuer(None if spec.get("tls") else CA, NAMES, NOW)
    found = act_secrets.desired_secrets(
        cluster, issuer, planned, brought, backups_enabled=cluster.spec.backups.enabled
    )
    return {meta["name"]: want((old or {}).get(meta["name"], {})) for meta, want in found}


def test_a_service_has_four_names() -> None:
    names = Names("c", "ns", "example.org")
    assert names.services("s") == ["s.ns.svc.example.org", "s.ns.svc", "s.ns", "s"]


# --- how long ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "hours"), [("2160h", 2160), ("1h30m", 1.5), ("90m", 1.5), ("3600s", 1), ("1.5h", 1.5)]
)
def test_durations_are_those_of_go(text: str, hours: float) -> None:
    assert decide_lifetimes.duration(text, "x") == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["90d", "h", "1h 30m", "-5h", "59m", "1000000000h", "9" * 400 + "h", "1"])
def test_what_is_no_duration_is_told_with_its_path(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.tls\.certValidityDuration") as refused:
        CertificateLifetimes.of(TLS.model_validate({"certValidityDuration": text}))
    assert refused.value.reason == "InvalidDuration"


def test_certificates_hold_as_long_as_asked_for() -> None:
    lives = CertificateLifetimes.of(
        TLS.model_validate({"certValidityDuration": "720h", "caValidityDuration": "8760h"})
    )
    root = build_certificates.certificate_authority({}, "cluster1", NOW, lives.authority)
    assert cert(root["root.crt"]).not_valid_after_utc == NOW + 365 * DAY
    issuer = Issuer(pki.Pair(root["root.crt"], root["root.key"]), NAMES, NOW, lives)
    for want, key in (
        (build_certificates.server_certificate(issuer), "tls.crt"),
        (build_certificates.instance_certificates(issuer, "a"), "dns.crt"),
        (build_certificates.pgbackrest_certificates(issuer, "uid"), "pgbackrest-client.crt"),
        (build_certificates.pooler_certificate(issuer), "pgbouncer-frontend.crt"),
    ):
        data = want({})
        assert cert(data[key]).not_valid_after_utc == NOW + 30 * DAY
        assert want(data) == data


def test_pgbackrest_has_a_duration_of_its_own() -> None:
    lives = CertificateLifetimes.of(TLS.model_validate({"pgBackRestCertValidityDuration": "48h"}))
    issuer = Issuer(CA, NAMES, NOW, lives)
    data = build_certificates.instance_certificates(issuer, "a")({})
    assert cert(data["pgbackrest-server.crt"]).not_valid_after_utc == NOW + 2 * DAY
    assert cert(data["dns.crt"]).not_valid_after_utc == NOW + 365 * DAY


def test_another_duration_issues_anew_once() -> None:
    data = build_certificates.server_certificate(ISSUER)({})
    shorter = build_certificates.server_certificate(
        Issuer(CA, NAMES, NOW, CertificateLifetimes(leaf=30 * DAY))
    )
    again = shorter(data)
    assert again["tls.crt"] != data["tls.crt"]
    assert shorter(again) == again
    longer = build_certificates.server_certificate(
        Issuer(CA, NAMES, NOW, CertificateLifetimes(leaf=9999 * DAY))
    )
    cut = longer(again)
    assert cert(cut["tls.crt"]).not_valid_after_utc == cert(CA.cert).not_valid_after_utc
    assert longer(cut) == cut


def test_an_authority_of_ours_gets_a_new_term_under_its_key() -> None:
    """Leaves of the old term are valid under the new one, and the other way round: nobody is cut off."""
    leaf = build_certificates.server_certificate(ISSUER)({})
    later = NOW + 2500 * DAY
    new = build_certificates.certificate_authority(ROOT, "cluster1", later)
    assert new["root.key"] == ROOT["root.key"]
    assert cert(new["root.crt"]).not_valid_after_utc == later + 3650 * DAY
    cert(leaf["tls.crt"]).verify_directly_issued_by(cert(new["root.crt"]))
    assert build_certificates.certificate_authority(new, "cluster1", later) == new


def test_an_authority_that_somebody_put_there_is_left_alone() -> None:
    theirs = {key: text.encode() for key, text in THEIRS.root.items()}
    assert build_certificates.certificate_authority(theirs, "cluster1", NOW + 3600 * DAY) == theirs


# --- what the author brings ----------------------------------------------------------------------------


def test_a_server_certificate_of_the_author_s_is_served_and_replicas_still_get_in() -> None:
    brought = UserSupplied(server=files(THEIRS, "cluster1-primary"))
    found = all_secrets(brought)
    server, replication = found["cluster1-cluster-cert"], found["cluster1-replication-cert"]
    assert server["tls.crt"] == brought.server.data["tls.crt"]  # type: ignore[union-attr]
    assert set(server) == set(replication) == {"tls.crt", "tls.key", "ca.crt"}
    cert(replication["tls.crt"]).verify_directly_issued_by(cert(CA.cert))
    # Replicas verify the server by the first, the server verifies replicas by the second: a
    # certificate of the other CA does not open the databases, not even with the common name of replicas.
    assert subjects(server["ca.crt"]) == ["CN=theirs"]
    assert replication["ca.crt"] == CA.cert
    assert all_secrets(brought, found) == found


def test_both_of_the_author_s_leave_no_trust_in_ours() -> None:
    brought = UserSupplied(
        server=files(THEIRS, "cluster1-primary"), replication=files(THEIRS, "_crunchyrepl")
    )
    found = all_secrets(brought, all_secrets(UserSupplied()))
    assert subjects(found["cluster1-cluster-cert"]["ca.crt"]) == ["CN=theirs"]
    assert subjects(found["cluster1-replication-cert"]["ca.crt"]) == ["CN=theirs"]
    assert found["cluster1-replication-cert"]["tls.key"] == brought.replication.data["tls.key"]  # type: ignore[union-attr]


def test_what_is_no_longer_brought_is_made_again() -> None:
    found = all_secrets(UserSupplied(), all_secrets(UserSupplied(server=files(THEIRS, "cluster1-primary"))))
    cert(found["cluster1-cluster-cert"]["tls.crt"]).verify_directly_issued_by(cert(CA.cert))
    assert found["cluster1-cluster-cert"]["ca.crt"] == CA.cert


@pytest.mark.parametrize("before", [UserSupplied(), UserSupplied(server=files(THEIRS, "cluster1-primary"))])
def test_what_cannot_be_used_leaves_the_last_good(before: UserSupplied) -> None:
    old = all_secrets(before)
    brought = UserSupplied(root=BAD, server=BAD, replication=BAD, pooler=BAD, accounts=BAD, trusted=(BAD,))
    assert all_secrets(brought, old) == old


@pytest.mark.parametrize("brought", [UserSupplied(server=BAD), UserSupplied(replication=BAD)])
def test_without_a_last_good_the_cluster_waits_with_the_reason(brought: UserSupplied) -> None:
    with pytest.raises(InvalidSpec, match="the reason why"):
        all_secrets(brought)


def test_a_pooler_s_certificate_that_cannot_be_used_holds_up_the_pooler_only() -> None:
    found = all_secrets(UserSupplied(pooler=BAD))["cluster1-pgbouncer"]
    assert not [key for key in found if "frontend" in key]
    assert found["pgbouncer-verifier"]


def test_the_pooler_shows_the_author_s_certificate_and_trusts_more_authorities() -> None:
    other = Authority.new("other", NOW)
    brought = UserSupplied(
        pooler=files(THEIRS, "pool.example"), trusted=(LoadedSecret({"ca.crt": other.pair.cert}),)
    )
    found = all_secrets(brought)["cluster1-pgbouncer"]
    assert found["pgbouncer-frontend.key"] == brought.pooler.data["tls.key"]  # type: ignore[union-attr]
    assert subjects(found["pgbouncer-frontend.ca-roots"]) == ["CN=theirs", "CN=other"]


def test_accounts_of_the_author_s_follow_ours() -> None:
    found = all_secrets(UserSupplied(accounts=LoadedSecret({"app": b'se"cret'})))["cluster1-pgbouncer"]
    lines = found["pgbouncer-users.txt"].decode().splitlines()
    assert [line.split()[0] for line in lines] == ['"_crunchypgbouncer"', '"_crunchypgbounceradmin"', '"app"']
    assert lines[2] == '"app" "se""cret"'
    changed = all_secrets(
        UserSupplied(accounts=BAD), {"cluster1-pgbouncer": {**found, "pgbouncer-password": b"new"}}
    )
    assert b'"app"' not in changed["cluster1-pgbouncer"]["pgbouncer-users.txt"], "ours come first"


# --- nothing is made -----------------------------------------------------------------------------------

ONLY: dict[str, Any] = {"tls": {"certManagementPolicy": "userProvidedOnly"}}


def test_without_an_authority_nothing_is_made_and_what_is_missing_is_named() -> None:
    with pytest.raises(
        InvalidSpec,
        match=r"'cluster1-cluster-cert' does not exist or is empty: create it with the keys tls\.",
    ) as refused:
        all_secrets(UserSupplied(), **ONLY)
    assert refused.value.reason == "TLSSecretsMissing"


def test_what_the_author_made_is_taken_as_it_is() -> None:
    made = all_secrets(UserSupplied())
    taken = all_secrets(UserSupplied(), made, **ONLY)
    assert taken == made


def test_a_pair_that_does_not_fit_is_told() -> None:
    made = all_secrets(UserSupplied())
    made["cluster1-pgbackrest"] = {
        **made["cluster1-pgbackrest"],
        "pgbackrest-client.key": made["cluster1-pgbackrest"]["pgbackrest-repo-host.key"],
    }
    taken = all_secrets(UserSupplied(), made, **ONLY)
    assert taken == made, "the cluster goes on with what it has"
    [problem] = build_certificates.flaws(taken, NOW)
    assert problem.reason == "TLSSecretsInvalid"
    assert "'cluster1-pgbackrest': pgbackrest-client.key does not match" in problem.message
    assert len(build_certificates.flaws(taken, NOW + 400 * DAY)) > 5


def test_the_author_may_bring_some_by_reference() -> None:
    made = all_secrets(UserSupplied())
    brought = UserSupplied(
        server=files(THEIRS, "cluster1-primary"), replication=files(THEIRS, "_crunchyrepl")
    )
    del made["cluster1-cluster-cert"], made["cluster1-replication-cert"]
    assert subjects(all_secrets(brought, made, **ONLY)["cluster1-cluster-cert"]["ca.crt"]) == ["CN=theirs"]


def test_the_secrets_that_are_waited_for_are_known_by_name() -> None:
    cluster = PGCluster.parse(cluster_manifest(**ONLY))
    planned = decide_membership.planned("cluster1", {"instance1": 1}, Observed())
    assert {"cluster1-cluster-cert", f"{planned[0].name}-certs"} <= act_secrets.expected(cluster, planned)
    assert act_secrets.expected(PGCluster.parse(cluster_manifest()), planned) == set()


def test_refusals_are_told_together_and_other_errors_first() -> None:
    together = act_secrets._raise_together
    with pytest.raises(InvalidSpec, match="one; two"):
        together([InvalidSpec("one"), InvalidSpec("two")])
    with pytest.raises(OSError, match="gone"):
        together([InvalidSpec("one"), OSError("gone")])
    together([])


def test_passwords_do_not_depend_on_certificates() -> None:
    old = build_passwords.pooler_accounts("cluster1")({})
    assert build_passwords.pooler_accounts("cluster1", keep=True)(old) == old
