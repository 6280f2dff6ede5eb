"""Certificates of a cluster: bytes in, bytes out, the clock is an argument.

One CA for each cluster signs everything below it: the server certificate, the client certificate of the
replication user, one certificate for each instance, those of pgBackRest and of pgBouncer. Keys are ECDSA on
P-256, signatures use SHA-384 (`objects.md` §1.6), so that an adopted cluster keeps what it has.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificatePublicKeyTypes,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pgoperator.errors import InvalidSpec

LONGEST_COMMON_NAME = 64
"""Characters a common name may have: ub-common-name of RFC 5280, appendix A.1."""

CA_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=365)

_SKEW = timedelta(hours=1)
"""Not-before lies this far in the past, so that a node with a slow clock accepts a fresh certificate."""


_SigningKey = (
    ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)
_SIGNING_KEYS = (
    ec.EllipticCurvePrivateKey,
    rsa.RSAPrivateKey,
    ed25519.Ed25519PrivateKey,
    ed448.Ed448PrivateKey,
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM; the key is PKCS #8 without a passphrase."""

    cert: bytes
    key: bytes


def new_ca(common_name: str, now: datetime, *, life: timedelta = CA_LIFE) -> Pair:
    """Make a self-signed CA that may sign leaves only (path length 0)."""
    return _self_signed(ec.generate_private_key(ec.SECP256R1()), common_name, now, life)


def renewed_ca(ca: Pair, common_name: str, now: datetime, *, life: timedelta = CA_LIFE) -> Pair:
    """The CA with a new term under its own key and name, if it is one of ours and two thirds are over.

    What it signed is valid under the new certificate as under the old one, so that nobody has to notice.
    """
    cert, key = _certificate(ca.cert), _ca_key(ca.key)
    ours = _name(common_name[:LONGEST_COMMON_NAME])
    if cert is None or not isinstance(key, ec.EllipticCurvePrivateKey):
        return ca
    if not cert.subject == cert.issuer == ours or now < _renew_at(cert):
        return ca
    return _self_signed(key, common_name, now, life)


def _self_signed(key: ec.EllipticCurvePrivateKey, common_name: str, now: datetime, life: timedelta) -> Pair:
    name = _name(common_name[:LONGEST_COMMON_NAME])
    usage = _key_usage(ca=True)
    builder = (
        _builder(name, key.public_key(), now)
        .issuer_name(name)
        .not_valid_after(now + life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
    )
    return Pair(_pem(builder.sign(key, hashes.SHA384())), _key_pem(key))


def issue(
    ca: Pair,
    *,
    common_name: str,
    dns_names: Sequence[str] = (),
    now: datetime,
    life: timedelta = LEAF_LIFE,
    client: bool = True,
    server: bool = True,
) -> Pair:
    """Make a key and a certificate for it, signed by `ca`.

    The life ends with the CA's at the latest: a leaf that outlives its CA is refused by every verifier.
    `InvalidSpec` when the CA, which may be the user's own, cannot be read.
    """
    ca_cert, ca_key = _certificate(ca.cert), _ca_key(ca.key)
    if ca_cert is None or ca_key is None:
        raise InvalidSpec("the CA's certificate or key is not readable PEM", reason="InvalidCA")
    key = ec.generate_private_key(ec.SECP256R1())
    end = min(now + life, ca_cert.not_valid_after_utc)
    if end <= now:
        raise InvalidSpec("the CA has expired", reason="InvalidCA")
    builder = (
        _builder(_name(_common_name(common_name, dns_names)), key.public_key(), now)
        .issuer_name(ca_cert.subject)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(_authority(ca_cert), critical=False)
    )
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH] * server + [ExtendedKeyUsageOID.CLIENT_AUTH] * client
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if dns_names:
        names = [x509.DNSName(name) for name in dict.fromkeys(dns_names)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    # Ed25519 and Ed448, which only a user's own CA can have, fix their hash themselves.
    fixed = isinstance(ca_key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return Pair(_pem(builder.sign(ca_key, None if fixed else hashes.SHA384())), _key_pem(key))


def flaw(
    pair: Pair,
    ca_cert: bytes,
    *,
    common_name: str,
    dns_names: Sequence[str],
    now: datetime,
    life: timedelta | None = None,
) -> str | None:
    """Why the leaf must be issued again, as half a sentence; None when it is to be kept.

    The order of names does not matter, so that a leaf issued by another operator is not replaced for it.
    `life`: how long it shall hold; None takes it as it is.
    """
    cert, ca = _certificate(pair.cert), _certificate(ca_cert)
    if cert is None or ca is None:
        return "the certificate is unreadable" if cert is None else "the CA's certificate is unreadable"
    if (mismatch := _key_flaw(pair.key, cert)) is not None:
        return mismatch
    try:
        cert.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return "it was signed by another CA"
    common = [str(name.value) for name in cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if common != [_common_name(common_name, dns_names)] or set(_dns_names(cert)) != set(dns_names):
        return "it carries other names"
    if life is not None and not _holds_for(cert, ca, life):
        return "it holds for another time than asked for"
    return _life_flaw(cert, now)


def ca_flaw(ca: Pair) -> str | None:
    """Why nothing can be signed with a CA at any time, or None; that it has expired, `issue` finds out."""
    cert = _certificate(ca.cert)
    if cert is None:
        return "the certificate is unreadable"
    try:
        is_ca = cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        is_ca = False
    if not is_ca:
        return "it is not a CA's certificate"
    return _key_flaw(ca.key, cert)


def renew_at(cert: bytes) -> datetime:
    """When two thirds of the life of a PEM certificate are over; ValueError when it is unreadable."""
    if (read := _certificate(cert)) is None:
        raise ValueError("the certificate is unreadable")
    return _renew_at(read)


def first_end(pems: Iterable[bytes]) -> datetime | None:
    """When the first of all certificates in some PEM texts ends; keys, and what is no PEM, do not count."""
    ends = []
    for pem in pems:
        try:
            ends += [cert.not_valid_after_utc for cert in x509.load_pem_x509_certificates(pem)]
        except ValueError:
            continue
    return min(ends, default=None)


def _renew_at(cert: x509.Certificate) -> datetime:
    life = cert.not_valid_after_utc - cert.not_valid_before_utc
    return cert.not_valid_before_utc + life * 2 / 3


def _holds_for(cert: x509.Certificate, ca: x509.Certificate, life: timedelta) -> bool:
    """Whether `issue` would have given it this end; another operator's idea of the begin is forgiven."""
    found = cert.not_valid_after_utc - cert.not_valid_before_utc
    cut_short = cert.not_valid_after_utc == ca.not_valid_after_utc and found <= life + _SKEW
    return cut_short or life <= found <= life + _SKEW


def _life_flaw(cert: x509.Certificate, now: datetime) -> str | None:
    if now < cert.not_valid_before_utc:
        return "it is not valid yet"
    return "a third or less of its life remains" if now >= _renew_at(cert) else None


def _key_flaw(key: bytes, cert: x509.Certificate) -> str | None:
    read = _ca_key(key)
    if read is None:
        return "the key is unreadable"
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if read.public_key().public_bytes(*form) != cert.public_key().public_bytes(*form):
        return "the key does not match the certificate"
    return None


def _common_name(common_name: str, dns_names: Sequence[str]) -> str:
    """Fit a name into 64 characters: a short alternative name says more than the head of a long one."""
    if len(common_name) <= LONGEST_COMMON_NAME:
        return common_name
    short = (name for name in dns_names if len(name) <= LONGEST_COMMON_NAME)
    return next(short, common_name[:LONGEST_COMMON_NAME])


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: x509.Name, key: CertificatePublicKeyTypes, now: datetime) -> x509.CertificateBuilder:
    """Start a certificate with what a CA and a leaf have in common."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _authority(ca: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Copy the CA's own identifier: a user's CA may have computed it in another way than we would."""
    try:
        own = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        # The stub asks for a key that can sign; the function hashes any kind alike.
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _dns_names(cert: x509.Certificate) -> list[str]:
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return names.get_values_for_type(x509.DNSName)


def _certificate(pem: bytes) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(pem)
    except (ValueError, TypeError):
        return None


def _ca_key(pem: bytes) -> _SigningKey | None:
    """Read a private key that can sign; None for anything else, an encrypted one included."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        return None
    return key if isinstance(key, _SIGNING_KEYS) else None


def _pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
