"""Checks of user-provided certificates. Each returns the problem as a message for the user, or None. Pure."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID

from pgoperator.limits import RSA_BITS

Extension = TypeVar("Extension", bound=x509.ExtensionType)
Certificates = Sequence[x509.Certificate]
CHAIN, BUNDLE = 10, 500
"""Certificates of a chain and of a list of CAs: a step of a chain can take a signature check of each CA."""


def leaf_problem(
    cert: bytes, key: bytes, now: datetime, *, common_name: str = "", host: str = "", file: str = "tls"
) -> str | None:
    """Return why a certificate chain and its key cannot be used; None when they can.

    `cert` and `key` are PEM; `cert` has the leaf first. `common_name`: the required common name of a client
    certificate. `host`: a host name that a server certificate must be valid for. `file`: the base name of the
    two files, for messages.
    """
    chain = _read(cert)
    if not chain:
        return f"{file}.crt is not a PEM certificate"
    flaw = _length_problem(chain, f"{file}.crt", CHAIN) or _key_problem(key, chain[0], file)
    flaw = flaw or _validity_problem(chain[0], f"{file}.crt", now)
    if flaw is not None:
        return flaw
    names = [str(name.value) for name in chain[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if common_name and names != [common_name]:
        return f"the common name in tls.crt is {' '.join(names) or 'missing'!r}, but must be {common_name!r}"
    if host and not any(_covers(name, host) for name in _hosts(chain[0])):
        return (
            f"tls.crt is not valid for the host name {host!r}, which pgBouncer uses to connect to the primary"
        )
    return None


def chain_problem(cert: bytes, ca: bytes, now: datetime) -> str | None:
    """Return why a client that trusts the CAs in `ca` would reject the chain `cert`; None if it would not.

    The validity of the leaf is not checked, see `leaf_problem`.
    """
    trusted, chain = _read(ca), _read(cert)
    if (flaw := bundle_problem(ca)) is not None:
        return flaw
    if not chain:
        return "tls.crt is not a PEM certificate"
    leaf, *intermediates = chain
    if leaf in trusted:
        return None
    problem = "tls.crt is not signed by a CA in ca.crt"
    # Breadth first: each certificate is visited once, and first at its shortest distance from the leaf.
    level, seen, distance = [leaf], {leaf}, 0
    while level:
        issuers = []
        for current in level:
            for issuer in (*trusted, *intermediates):
                if issuer in seen or not _is_signed_by(current, issuer):
                    continue
                file = "ca.crt" if issuer in trusted else "tls.crt"
                flaw = _issuer_problem(issuer, file, distance, now)
                if flaw is None and issuer in trusted:
                    return None
                if flaw is None:
                    issuers.append(issuer)
                else:
                    problem = flaw
                seen.add(issuer)
        level, distance = issuers, distance + 1
    return problem


def _issuer_problem(cert: x509.Certificate, file: str, distance: int, now: datetime) -> str | None:
    """Return why a certificate cannot issue others; `distance`: CAs between it and the leaf."""
    name = f"the certificate {cert.subject.rfc4514_string()!r} in {file}"
    constraints, usage = extension(cert, x509.BasicConstraints), extension(cert, x509.KeyUsage)
    # A root from before X.509 v3 has no extensions; OpenSSL accepts it.
    is_old = cert.version is x509.Version.v1 and cert.subject == cert.issuer
    is_ca = constraints.ca if constraints is not None else is_old
    if not is_ca or (usage is not None and not usage.key_cert_sign):
        return f"{name} is not a CA certificate"
    if constraints is not None and constraints.path_length is not None and constraints.path_length < distance:
        return f"{name} allows at most {constraints.path_length} CAs below it"
    return _validity_problem(cert, name, now)


def bundle_problem(ca: bytes) -> str | None:
    """Return why a list of CA certificates cannot be used; None when it can."""
    certificates = _read(ca)
    if not certificates:
        return "ca.crt is not a PEM certificate"
    return _length_problem(certificates, "ca.crt", BUNDLE)


def ca_problem(cert: bytes, key: bytes, now: datetime) -> str | None:
    """Return why a CA cannot sign certificates; None when it can."""
    certificates = _read(cert)
    if not certificates:
        return "root.crt is not a PEM certificate"
    constraints = extension(certificates[0], x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        return "root.crt is not a CA certificate"
    return _key_problem(key, certificates[0], "root") or _validity_problem(certificates[0], "root.crt", now)


def merge(*bundles: bytes) -> bytes:
    """Merge PEM bundles without duplicate certificates; the bytes of a single bundle stay unchanged."""
    first, *others = dict.fromkeys(bundles)
    seen = set(_read(first)) if others else set()
    more = []
    for bundle in others:
        for certificate in _read(bundle):
            if certificate not in seen:
                seen.add(certificate)
                more.append(certificate.public_bytes(serialization.Encoding.PEM))
    return b"".join([first.rstrip(b"\n"), b"\n", *more]) if more else first


def extension(cert: x509.Certificate, kind: type[Extension]) -> Extension | None:
    """Return an extension, None when it is absent or unreadable."""
    try:
        return cert.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, ValueError):
        return None


def earliest_expiry(pems: Iterable[bytes]) -> datetime | None:
    """Earliest expiry of all certificates in some PEM texts; other content is ignored, None without any."""
    ends = []
    for pem in pems:
        with suppress(ValueError):
            ends += [cert.not_valid_after_utc for cert in x509.load_pem_x509_certificates(pem)]
    return min(ends, default=None)


def _read(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except (ValueError, TypeError):
        return []


def _length_problem(certificates: Certificates, name: str, most: int) -> str | None:
    number = len(certificates)
    return f"{name} has {number} certificates; at most {most} are allowed" if number > most else None


def _key_problem(pem: bytes, cert: x509.Certificate, name: str) -> str | None:
    try:
        # The validation of an RSA key takes 10 s with 8192 bits, and minutes with more.
        key: PrivateKeyTypes = serialization.load_pem_private_key(
            pem, password=None, unsafe_skip_rsa_key_validation=True
        )
    except TypeError:
        return f"{name}.key is encrypted with a passphrase"
    except (ValueError, UnsupportedAlgorithm):
        return f"{name}.key is not a PEM private key"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size > RSA_BITS:
        return f"{name}.key has {key.key_size} bits; at most {RSA_BITS} are allowed"
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != cert.public_key().public_bytes(*form):
        return f"{name}.key does not match the certificate in {name}.crt"
    return None


def _validity_problem(cert: x509.Certificate, name: str, now: datetime) -> str | None:
    if now >= cert.not_valid_after_utc:
        return f"{name} expired on {cert.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
    if now < cert.not_valid_before_utc:
        return f"{name} is not valid before {cert.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC"
    return None


def _is_signed_by(cert: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        cert.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _hosts(cert: x509.Certificate) -> list[str]:
    """Host names of a server certificate; the common name counts only without SANs, as in OpenSSL."""
    names = extension(cert, x509.SubjectAlternativeName)
    if names is None:
        return [str(name.value) for name in cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return names.get_values_for_type(x509.DNSName)


def _covers(name: str, host: str) -> bool:
    if not name.startswith("*."):
        return name.lower() == host.lower()
    return name[2:].lower() == host.partition(".")[2].lower()
