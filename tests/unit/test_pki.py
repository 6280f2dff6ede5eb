"""Certificates: what is issued, what is kept, and that OpenSSL agrees."""

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pgoperator import pki
from pgoperator.errors import InvalidSpec
from pgoperator.pki import Pair

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMES = {"common_name": "c-primary", "dns_names": ["c-primary", "c-primary.ns.svc"]}
LONG = "a" * 60 + ".ns.svc.cluster.local"


@pytest.fixture(scope="module")
def ca():
    return pki.new_ca("postgres-operator-ca", NOW)


@pytest.fixture(scope="module")
def leaf(ca):
    return pki.issue(ca, **NAMES, now=NOW)


def read(pair: Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.cert)


def common_name(cert: x509.Certificate) -> str:
    return cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value


def names(cert: x509.Certificate) -> list[str]:
    return cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    )


def test_ca(ca):
    cert = read(ca)
    assert common_name(cert) == "postgres-operator-ca"
    assert cert.not_valid_before_utc == NOW - timedelta(hours=1)
    assert cert.not_valid_after_utc == NOW + timedelta(days=3650)
    constraints = cert.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    assert isinstance(cert.signature_hash_algorithm, hashes.SHA384)
    assert cert.public_key().curve.name == "secp256r1"
    assert pki.ca_flaw(ca) is None


def test_leaf(ca, leaf):
    cert = read(leaf)
    assert names(cert) == NAMES["dns_names"]
    assert cert.not_valid_before_utc == NOW - timedelta(hours=1)
    assert cert.not_valid_after_utc == NOW + timedelta(days=365)
    cert.verify_directly_issued_by(read(ca))
    assert leaf.key.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert pki.flaw(leaf, ca.cert, **NAMES, now=NOW) is None


@pytest.mark.parametrize("client", [True, False])
@pytest.mark.parametrize("server", [True, False])
def test_purposes(ca, client, server):
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
def test_a_common_name_that_is_too_long(ca, dns_names, expected):
    leaf = pki.issue(ca, common_name=LONG, dns_names=dns_names, now=NOW)
    assert common_name(read(leaf)) == expected
    assert not dns_names or names(read(leaf)) == dns_names
    assert pki.flaw(leaf, ca.cert, common_name=LONG, dns_names=dns_names, now=NOW) is None


def test_flaws(ca, leaf):
    other = pki.issue(ca, **NAMES, now=NOW)
    stranger = pki.new_ca("postgres-operator-ca", NOW)

    def flaw(pair=leaf, ca_cert=ca.cert, now=NOW, **changes):
        return pki.flaw(pair, ca_cert, **NAMES | changes, now=now) or ""

    assert "certificate is unreadable" in flaw(Pair(b"", leaf.key))
    assert "certificate is unreadable" in flaw(Pair(leaf.cert[:200], leaf.key))
    assert "key is unreadable" in flaw(Pair(leaf.cert, b"x"))
    assert "key does not match" in flaw(Pair(leaf.cert, other.key))
    assert "another CA" in flaw(ca_cert=stranger.cert)
    assert "CA's certificate is unreadable" in flaw(ca_cert=b"")
    assert "other names" in flaw(common_name="x")
    assert "other names" in flaw(dns_names=["c-primary"])
    assert "other names" in flaw(dns_names=[*NAMES["dns_names"], "x"])
    assert flaw(dns_names=NAMES["dns_names"][::-1]) == ""
    assert "not valid yet" in flaw(now=NOW - timedelta(days=1))


def test_renewal_at_two_thirds_of_the_life(ca, leaf):
    moment = pki.renew_at(leaf.cert)
    assert moment == NOW - timedelta(hours=1) + (timedelta(days=365, hours=1) * 2 / 3)
    assert pki.flaw(leaf, ca.cert, **NAMES, now=moment - timedelta(seconds=1)) is None
    assert "third" in pki.flaw(leaf, ca.cert, **NAMES, now=moment)
    with pytest.raises(ValueError):
        pki.renew_at(b"x")


def test_a_leaf_does_not_outlive_its_ca():
    young = pki.new_ca("x", NOW, life=timedelta(days=30))
    leaf = pki.issue(young, common_name="x", now=NOW)
    assert read(leaf).not_valid_after_utc == read(young).not_valid_after_utc
    with pytest.raises(InvalidSpec):
        pki.issue(young, common_name="x", now=NOW + timedelta(days=31))


def _users_ca(key) -> Pair:
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
def test_a_users_own_ca(key):
    ca = _users_ca(key)
    assert pki.ca_flaw(ca) is None
    leaf = pki.issue(ca, **NAMES, now=NOW)
    assert pki.flaw(leaf, ca.cert, **NAMES, now=NOW) is None


def test_flaws_of_a_ca(ca, leaf):
    assert "unreadable" in pki.ca_flaw(Pair(b"", ca.key))
    assert "not a CA" in pki.ca_flaw(leaf)
    assert "does not match" in pki.ca_flaw(Pair(ca.cert, leaf.key))
    with pytest.raises(InvalidSpec):
        pki.issue(Pair(b"x", b"y"), common_name="x", now=NOW)


@pytest.mark.parametrize("name", ["c-primary", "c-primary.ns.svc"])
def test_both_sides_of_a_connection_accept_each_other(tmp_path, name):
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

    def serve():
        with contexts[0].wrap_socket(left, server_side=True) as connection:
            connection.sendall(str(connection.getpeercert()["subject"]).encode())

    thread = threading.Thread(target=serve)
    thread.start()
    with contexts[1].wrap_socket(right, server_hostname=name) as connection:
        assert b"_crunchyrepl" in connection.recv(1000)
    thread.join()


def test_the_first_end_of_a_bundle(ca, leaf):
    assert pki.first_end([]) is None
    assert pki.first_end([b"postgres", leaf.key]) is None
    assert pki.first_end([b"", leaf.key + leaf.cert, ca.cert]) == read(leaf).not_valid_after_utc
    assert pki.first_end([ca.cert + leaf.cert]) == read(leaf).not_valid_after_utc
