"""Certificates of a cluster: bytes in, bytes out, the clock is an argument.

One CA per cluster signs the server certificate, the client certificate of the replication user, one
certificate per instance, and those of pgBackRest and pgBouncer. Keys are ECDSA on P-256 and signatures use
SHA-384, as with Percona's operator, so certificates of its clusters stay valid here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificatePublicKeyTypes,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pgoperator.errors import InvalidSpec
from pgoperator.limits import RSA_BITS
from pgoperator.pki_check import extension

LONGEST_COMMON_NAME = 64
"""Maximum length of a common name in characters: ub-common-name of RFC 5280, appendix A.1."""

CA_VALIDITY = timedelta(days=3650)
LEAF_VALIDITY = timedelta(days=365)

_SKEW = timedelta(hours=1)
"""How far notBefore is in the past, so that a node with a slow clock accepts a new certificate."""


_SigningKey = (
    ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM; the key is PKCS #8 without a passphrase."""

    cert: bytes
    key: bytes


def new_ca(common_name: str, now: datetime, *, life: timedelta = CA_VALIDITY) -> Pair:
    """Create a self-signed CA that can sign only leaf certificates (path length 0)."""
    return _self_signed(ec.generate_private_key(ec.SECP256R1()), common_name, now, life)


def renewed_ca(ca: Pair, common_name: str, now: datetime, *, life: timedelta = CA_VALIDITY) -> Pair:
    """Return the CA with a new validity period once two thirds of the old one are over, else `ca` itself.

    A CA that is not valid yet, because it was created with a fast clock, is renewed, too. Key and name stay
    the same, so certificates signed earlier remain valid under the new CA certificate. Only a self-signed CA
    with this common name and an EC key is renewed.
    """
    cert, key = _certificate(ca.cert), _ca_key(ca.key)
    ours = _name(common_name[:LONGEST_COMMON_NAME])
    if cert is None or not isinstance(key, ec.EllipticCurvePrivateKey):
        return ca
    if not cert.subject == cert.issuer == ours or cert.not_valid_before_utc <= now < _renew_at(cert):
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
    life: timedelta = LEAF_VALIDITY,
    client: bool = True,
    server: bool = True,
) -> Pair:
    """Create a key and a certificate for it, signed by `ca`.

    The certificate expires with its CA at the latest, because clients reject a leaf that outlives its CA.
    `InvalidSpec` when the CA, which can be user-provided, is unreadable or has expired.
    """
    ca_cert, ca_key = _certificate(ca.cert), _ca_key(ca.key)
    if ca_cert is None or ca_key is None:
        raise InvalidSpec("the CA certificate or its key is not valid PEM", reason="InvalidCA")
    key = ec.generate_private_key(ec.SECP256R1())
    end = min(now + life, ca_cert.not_valid_after_utc)
    if end <= now:
        raise InvalidSpec("the CA certificate has expired", reason="InvalidCA")
    builder = (
        _builder(_name(_common_name(common_name, dns_names)), key.public_key(), now)
        .issuer_name(ca_cert.subject)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(_authority(ca_cert), critical=False)
    )
    if purposes := _wanted_purposes(client=client, server=server):
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if dns_names:
        names = [x509.DNSName(name) for name in dict.fromkeys(dns_names)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    # Ed25519 and Ed448 keys (only in user-provided CAs) define their own hash.
    fixed = isinstance(ca_key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return Pair(_pem(builder.sign(ca_key, None if fixed else hashes.SHA384())), _key_pem(key))


def reissue_reason(
    pair: Pair,
    ca_cert: bytes,
    *,
    common_name: str,
    dns_names: Sequence[str],
    now: datetime,
    life: timedelta | None = None,
    client: bool = True,
    server: bool = True,
) -> str | None:
    """Return why the leaf must be reissued, as a clause for a log line; None when it can stay.

    The order of names is ignored, so a leaf of another operator is not reissued because of it. `life`: the
    required validity period; None accepts any. `client`, `server`: what the leaf may be used for.
    """
    cert, ca = _certificate(pair.cert), _certificate(ca_cert)
    if cert is None or ca is None:
        return "the certificate is unreadable" if cert is None else "the CA certificate is unreadable"
    if (mismatch := _key_problem(pair.key, cert)) is not None:
        return mismatch
    try:
        cert.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return "it was signed by another CA"
    common = [str(name.value) for name in cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if common != [_common_name(common_name, dns_names)] or set(_dns_names(cert)) != set(dns_names):
        return "its names are not the desired ones"
    if _purposes(cert) != set(_wanted_purposes(client=client, server=server)):
        return "its purposes are not the desired ones"
    return _validity_problem(cert, ca, now, life)


def ca_problem(ca: Pair) -> str | None:
    """Return why a CA cannot sign certificates, or None; `issue` checks its expiry."""
    cert = _certificate(ca.cert)
    if cert is None:
        return "the certificate is unreadable"
    constraints = extension(cert, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        return "it is not a CA certificate"
    return _key_problem(ca.key, cert)


def renew_at(pem: bytes) -> datetime:
    """Time at which two thirds of a PEM certificate's validity are over; ValueError when it is unreadable."""
    return _renew_at(x509.load_pem_x509_certificate(pem))


def _renew_at(cert: x509.Certificate) -> datetime:
    return cert.not_valid_before_utc + (cert.not_valid_after_utc - cert.not_valid_before_utc) * 2 / 3


def _holds_for(cert: x509.Certificate, ca: x509.Certificate, life: timedelta) -> bool:
    """Whether the validity period is the one `issue` would set, with a tolerance for another notBefore."""
    actual = cert.not_valid_after_utc - cert.not_valid_before_utc
    cut_short = cert.not_valid_after_utc == ca.not_valid_after_utc and actual <= life + _SKEW
    return cut_short or life <= actual <= life + _SKEW


def _validity_problem(
    cert: x509.Certificate, ca: x509.Certificate, now: datetime, life: timedelta | None
) -> str | None:
    if life is not None and not _holds_for(cert, ca, life):
        return "its validity period is not the desired one"
    if now < cert.not_valid_before_utc:
        return "it is not valid yet"
    if now >= cert.not_valid_after_utc:
        return "it has expired"
    if now < _renew_at(cert):
        return None
    # A leaf that ends with its CA cannot be extended: another one would be due for renewal at once.
    is_final = cert.not_valid_after_utc >= min(now + (life or LEAF_VALIDITY), ca.not_valid_after_utc)
    return None if is_final else "a third or less of its validity period remains"


def _key_problem(key: bytes, cert: x509.Certificate) -> str | None:
    read = _ca_key(key)
    if read is None:
        return "the key is unreadable"
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if read.public_key().public_bytes(*form) != cert.public_key().public_bytes(*form):
        return "the key does not match the certificate"
    return None


def _common_name(common_name: str, dns_names: Sequence[str]) -> str:
    """Return a common name of at most 64 characters: the first short DNS name, or the truncated name."""
    if len(common_name) <= LONGEST_COMMON_NAME:
        return common_name
    short = (name for name in dns_names if len(name) <= LONGEST_COMMON_NAME)
    return next(short, common_name[:LONGEST_COMMON_NAME])


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: x509.Name, key: CertificatePublicKeyTypes, now: datetime) -> x509.CertificateBuilder:
    """Start a certificate with the fields that a CA and a leaf share."""
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


def _wanted_purposes(*, client: bool, server: bool) -> list[x509.ObjectIdentifier]:
    return [ExtendedKeyUsageOID.SERVER_AUTH] * server + [ExtendedKeyUsageOID.CLIENT_AUTH] * client


def _purposes(cert: x509.Certificate) -> set[x509.ObjectIdentifier]:
    """The purposes that a certificate lists; empty without a list, which OpenSSL takes for all."""
    return set(extension(cert, x509.ExtendedKeyUsage) or ())


def _authority(ca: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Copy the CA's subject key identifier: a user-provided CA may use another method to compute it."""
    own = extension(ca, x509.SubjectKeyIdentifier)
    if own is None:
        # The type stub demands a signing key, but the function accepts any public key.
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _dns_names(cert: x509.Certificate) -> list[str]:
    names = extension(cert, x509.SubjectAlternativeName)
    return names.get_values_for_type(x509.DNSName) if names is not None else []


def _certificate(pem: bytes) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(pem)
    except (ValueError, TypeError):
        return None


def _ca_key(pem: bytes) -> _SigningKey | None:
    """Read a private key that can sign; None for anything else, including an encrypted key."""
    try:
        key = serialization.load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    too_large = isinstance(key, rsa.RSAPrivateKey) and key.key_size > RSA_BITS
    return key if isinstance(key, _SigningKey) and not too_large else None


def _pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
