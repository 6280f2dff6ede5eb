"""What each key of a cluster opens: a handshake with Patroni's settings for each of them."""

import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from pgoperator import pki
from pgoperator.api.cluster import PGCluster
from reconcilers.pgcluster.credentials import act_secrets, build_certificates
from reconcilers.pgcluster.credentials.build_certificates import Issuer, Names
from reconcilers.pgcluster.credentials.build_passwords import Data
from reconcilers.pgcluster.credentials.read_user_secrets import UserSupplied
from reconcilers.pgcluster.instances import decide_membership
from reconcilers.pgcluster.state.view import Observed
from tests.support.views import cluster_manifest

NOW = datetime.now(UTC)  # OpenSSL has no other clock
ROOT = build_certificates.certificate_authority({}, "cluster1", NOW)
CA = pki.Pair(ROOT["root.crt"], ROOT["root.key"])
ISSUER = Issuer(CA, Names("cluster1", "ns1", "cluster.local"), NOW)
OPENS, SERVES = (True, False), (False, True)
# Secret and pair -> whether it opens a server, and whether a client takes it for a server.
USES = {
    ("cluster1-cluster-cert", "tls"): SERVES,
    ("cluster1-replication-cert", "tls"): OPENS,
    ("cluster1-pgbackrest", "pgbackrest-client"): OPENS,
    ("cluster1-pgbackrest", "pgbackrest-repo-host"): SERVES,
    ("cluster1-pgbouncer", "pgbouncer-frontend"): SERVES,
    ("cluster1-instance1-certs", "dns"): (True, True),
    ("cluster1-instance1-certs", "pgbackrest-server"): SERVES,
}


def all_secrets(old: dict[str, Data] | None = None) -> dict[str, Data]:
    cluster = PGCluster.parse(cluster_manifest())
    planned = decide_membership.planned("cluster1", {"instance1": 1}, Observed())
    found = act_secrets.desired_secrets(cluster, ISSUER, planned, UserSupplied(), backups_enabled=True)
    return {metadata["name"]: want((old or {}).get(metadata["name"], {})) for metadata, want in found}


def pairs(secrets: dict[str, Data]) -> Iterator[tuple[tuple[str, str], pki.Pair]]:
    """Every certificate with a key, by its Secret and file."""
    for secret, data in secrets.items():
        name = re.sub("(?<=-instance1)-.{4}(?=-certs)", "", secret)
        for file in sorted(key.removesuffix(".key") for key in data if key.endswith(".key")):
            yield (name, file), pki.Pair(data[f"{file}.crt"], data[f"{file}.key"])


def handshake(folder: Path, client: pki.Pair, server: pki.Pair) -> tuple[bool, bool]:
    """Whether the server accepts the client's certificate, and the client that of the server.

    The server's settings are those of Patroni with `verify_client: optional`.
    """
    sides = []
    records = ssl.MemoryBIO(), ssl.MemoryBIO()
    for pair, is_server in ((client, False), (server, True)):
        (folder / "pair").write_bytes(pair.key + pair.cert)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_cert_chain(folder / "pair")
        context.load_verify_locations(cadata=CA.cert.decode())
        context.verify_mode = ssl.CERT_OPTIONAL if is_server else ssl.CERT_REQUIRED
        sides.append(context.wrap_bio(*(records if is_server else records[::-1]), server_side=is_server))
    accepted = [True, True]
    for turn in (0, 1, 0, 1):
        try:
            sides[turn].do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError:
            accepted[turn] = False
            break
    return accepted[1], accepted[0]


def test_each_key_has_one_use_except_that_of_a_member(tmp_path: Path) -> None:
    found = dict(pairs(all_secrets()))
    assert found.keys() == USES.keys()
    member = found["cluster1-instance1-certs", "dns"]
    for place, (opens, serves) in USES.items():
        assert handshake(tmp_path, found[place], member)[0] is opens, place
        assert handshake(tmp_path, member, found[place])[1] is serves, place


@pytest.mark.parametrize("place", USES)
def test_a_pair_for_every_use_is_issued_again_once(place: tuple[str, str], tmp_path: Path) -> None:
    secrets = all_secrets()
    (secret,) = (name for name in secrets if re.fullmatch(place[0].replace("-certs", "-.{4}-certs"), name))
    before = dict(pairs(secrets))[place]
    cert = x509.load_pem_x509_certificate(before.cert)
    former = pki.issue(
        CA,
        common_name=str(cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value),
        dns_names=pki._dns_names(cert),
        now=NOW,
    )
    secrets[secret] = {
        **secrets[secret],
        f"{place[1]}.crt": former.cert,
        f"{place[1]}.key": former.key,
    }
    after = all_secrets(secrets)
    now = dict(pairs(after))[place]
    member = dict(pairs(after))["cluster1-instance1-certs", "dns"]
    assert (now == former) is (USES[place] == (True, True))
    assert handshake(tmp_path, now, member)[0] is USES[place][0]
    # A replica or pooler that still has the former files can connect until the kubelet has replaced them.
    assert handshake(tmp_path, former, member) == (True, True)
    assert all_secrets(after) == after
