"""Certificates: what is issued, what is kept, and that OpenSSL agrees."""

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pgoperator import pki, pki_check
from pgoperator.errors import InvalidSpec
from pgoperator.pki import Pair

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMES: dict[str, Any] = {"common_name": "c-primary", "dns_names": ["c-primary", "c-primary.ns.svc"]}
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
LONG = "a" * 60 + ".ns.svc.cluster.local"


@pytest.fixture(scope="module")
def ca() -> Pair:
    return pki.new_ca("postgres-operator-ca", NOW)


@pytest.fixture(scope="module")
def leaf(ca: Pair) -> Pair:
    return pki.issue(ca, **NAMES, now=NOW)


def read(pair: Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.cert)


def common_name(cert: x509.Certificate) -> str:
    return str(cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def names(cert: x509.Certificate) -> list[str]:
    return cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    )


def test_ca(ca: Pair) -> None:
    cert = read(ca)
    assert common_name(cert) == "postgres-operator-ca"
    assert cert.not_valid_before_utc == NOW - timedelta(hours=1)
    assert cert.not_valid_after_utc == NOW + timedelta(days=3650)
    constraints = cert.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    assert isinstance(cert.signature_hash_algorithm, hashes.SHA384)
    key = cert.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    assert pki.ca_problem(ca) is None


def test_leaf(ca: Pair, leaf: Pair) -> None:
    cert = read(leaf)
    assert names(cert) == NAMES["dns_names"]
    assert cert.not_valid_before_utc == NOW - timedelta(hours=1)
    assert cert.not_valid_after_utc == NOW + timedelta(days=365)
    cert.verify_directly_issued_by(read(ca))
    assert leaf.key.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert pki.reissue_reason(leaf, ca.cert, **NAMES, now=NOW) is None


@pytest.mark.parametrize("client", [True, False])
@pytest.mark.parametrize("server", [True, False])
def test_purposes(ca: Pair, client: bool, server: bool) -> None:
    cert = read(pki.issue(ca, common_name="x", now=NOW, client=client, server=server))
    try:
        usage = set(cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        usage = set()
    wanted = {ExtendedKeyUsageOID.CLIENT_AUTH: client, ExtendedKeyUsageOID.SERVER_AUTH: server}
    assert usage == {oid for oid, is_wanted in wanted.items() if is_wanted}


@pytest.mark.parametrize(
    ("dns_names", "expected"), [([LONG, "short"], "short"), ([LONG], LONG[:64]), ([], LONG[:64])]
)
def test_a_common_name_that_is_too_long(ca: Pair, dns_names: list[str], expected: str) -> None:
    leaf = pki.issue(ca, common_name=LONG, dns_names=dns_names, now=NOW)
    assert common_name(read(leaf)) == expected
    assert not dns_names or names(read(leaf)) == dns_names
    assert pki.reissue_reason(leaf, ca.cert, common_name=LONG, dns_names=dns_names, now=NOW) is None


def test_flaws(ca: Pair, leaf: Pair) -> None:
    other = pki.issue(ca, **NAMES, now=NOW)
    stranger = pki.new_ca("postgres-operator-ca", NOW)

    def flaw(pair: Pair = leaf, ca_cert: bytes = ca.cert, now: datetime = NOW, **changes: Any) -> str:
        return pki.reissue_reason(pair, ca_cert, **NAMES | changes, now=now) or ""

    assert "certificate is unreadable" in flaw(Pair(b"", leaf.key))
    assert "certificate is unreadable" in flaw(Pair(leaf.cert[:200], leaf.key))
    assert "key is unreadable" in flaw(Pair(leaf.cert, b"x"))
    assert "key does not match" in flaw(Pair(leaf.cert, other.key))
    assert "another CA" in flaw(ca_cert=stranger.cert)
    assert "CA certificate is unreadable" in flaw(ca_cert=b"")
    assert "names are not the desired ones" in flaw(common_name="x")
    assert "names are not the desired ones" in flaw(dns_names=["c-primary"])
    assert "names are not the desired ones" in flaw(dns_names=[*NAMES["dns_names"], "x"])
    assert flaw(dns_names=NAMES["dns_names"][::-1]) == ""
    assert "not valid yet" in flaw(now=NOW - timedelta(days=1))


def test_renewal_at_two_thirds_of_the_life(ca: Pair, leaf: Pair) -> None:
    moment = pki.renew_at(leaf.cert)
    assert moment == NOW - timedelta(hours=1) + (timedelta(days=365, hours=1) * 2 / 3)
    assert pki.reissue_reason(leaf, ca.cert, **NAMES, now=moment - timedelta(seconds=1)) is None
    assert "third" in (pki.reissue_reason(leaf, ca.cert, **NAMES, now=moment) or "")
    with pytest.raises(ValueError):
        pki.renew_at(b"x")


def test_a_leaf_does_not_outlive_its_ca() -> None:
    young = pki.new_ca("x", NOW, life=timedelta(days=30))
    leaf = pki.issue(young, common_name="x", now=NOW)
    assert read(leaf).not_valid_after_utc == read(young).not_valid_after_utc
    with pytest.raises(InvalidSpec):
        pki.issue(young, common_name="x", now=NOW + timedelta(days=31))


def _users_ca(key: Key) -> Pair:
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Users")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=100))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    cert = builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)
    pem = (
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        if not isinstance(key, ed25519.Ed25519PrivateKey)
        else key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return Pair(cert, pem)


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["rsa", "p384", "ed25519"],
)
def test_a_users_own_ca(key: Key) -> None:
    ca = _users_ca(key)
    assert pki.ca_problem(ca) is None
    leaf = pki.issue(ca, **NAMES, now=NOW)
    assert pki.reissue_reason(leaf, ca.cert, **NAMES, now=NOW) is None


def test_flaws_of_a_ca(ca: Pair, leaf: Pair) -> None:
    assert "unreadable" in (pki.ca_problem(Pair(b"", ca.key)) or "")
    assert "not a CA" in (pki.ca_problem(leaf) or "")
    assert "does not match" in (pki.ca_problem(Pair(ca.cert, leaf.key)) or "")
    with pytest.raises(InvalidSpec):
        pki.issue(Pair(b"x", b"y"), common_name="x", now=NOW)


@pytest.mark.parametrize("name", ["c-primary", "c-primary.ns.svc"])
def test_both_sides_of_a_connection_accept_each_other(tmp_path: Path, name: str) -> None:
    now = datetime.now(UTC)
    ca = pki.new_ca("test", now)
    server, client = (
        pki.issue(ca, **NAMES, now=now),
        pki.issue(ca, common_name="_crunchyrepl", now=now, server=False),
    )
    contexts = []
    for pair, protocol in ((server, ssl.PROTOCOL_TLS_SERVER), (client, ssl.PROTOCOL_TLS_CLIENT)):
        (tmp_path / "pair").write_bytes(pair.key + pair.cert)
        context = ssl.SSLContext(protocol)
        context.load_cert_chain(tmp_path / "pair")
        context.load_verify_locations(cadata=ca.cert.decode())
        context.verify_mode = ssl.CERT_REQUIRED
        contexts.append(context)
    left, right = socket.socketpair()

    def serve() -> None:
        with contexts[0].wrap_socket(left, server_side=True) as connection:
            connection.sendall(str((connection.getpeercert() or {})["subject"]).encode())

    thread = threading.Thread(target=serve)
    thread.start()
    with contexts[1].wrap_socket(right, server_hostname=name) as connection:
        assert b"_crunchyrepl" in connection.recv(1000)
    thread.join()


def test_the_first_end_of_a_bundle(ca: Pair, leaf: Pair) -> None:
    assert pki_check.earliest_expiry([]) is None
    assert pki_check.earliest_expiry([b"postgres", leaf.key]) is None
    assert pki_check.earliest_expiry([b"", leaf.key + leaf.cert, ca.cert]) == read(leaf).not_valid_after_utc
    assert pki_check.earliest_expiry([ca.cert + leaf.cert]) == read(leaf).not_valid_after_utc


@pytest.mark.parametrize("minutes", [60 * 24 * 40, 60 * 24, 60, 31, 30, 29, 10, 1])
def test_near_the_end_of_the_ca_a_new_leaf_is_not_renewed_at_once(minutes: int) -> None:
    ca = pki.new_ca("users-own", NOW, life=timedelta(days=100))
    now = NOW + timedelta(days=100) - timedelta(minutes=minutes)
    leaf = pki.issue(ca, **NAMES, now=now)
    assert pki.reissue_reason(leaf, ca.cert, **NAMES, now=now) is None
    # It ends with its CA, so a renewal would not help at any time before.
    for seconds in range(0, minutes * 60, max(minutes * 60 // 50, 1)):
        assert pki.reissue_reason(leaf, ca.cert, **NAMES, now=now + timedelta(seconds=seconds)) is None
    end = now + timedelta(minutes=minutes)
    assert "expired" in (pki.reissue_reason(leaf, ca.cert, **NAMES, now=end) or "")


def test_a_leaf_that_ended_with_its_ca_is_renewed_under_the_next_ca() -> None:
    ca = pki.new_ca("users-own", NOW, life=timedelta(days=100))
    leaf = pki.issue(ca, **NAMES, now=NOW + timedelta(days=90))
    later = NOW + timedelta(days=99)
    assert pki.reissue_reason(leaf, ca.cert, **NAMES, now=later) is None
    renewed = pki.renewed_ca(ca, "users-own", later)
    assert "third" in (pki.reissue_reason(leaf, renewed.cert, **NAMES, now=later) or "")


def test_a_ca_from_the_future_is_renewed() -> None:
    ca = pki.new_ca("operator", NOW + timedelta(days=2))
    renewed = pki.renewed_ca(ca, "operator", NOW)
    assert renewed.key == ca.key
    assert read(renewed).not_valid_before_utc <= NOW
    leaf = pki.issue(ca, **NAMES, now=NOW)
    assert pki.reissue_reason(leaf, renewed.cert, **NAMES, now=NOW) is None
    assert pki.renewed_ca(renewed, "operator", NOW) == renewed
