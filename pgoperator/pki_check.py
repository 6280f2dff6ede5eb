"""What is wrong with certificates that a person brings, in words for that person. Pure."""

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID

Certificates = Sequence[x509.Certificate]


def flaw_of_leaf(
    cert: bytes, key: bytes, now: datetime, *, common_name: str = "", host: str = "", file: str = "tls"
) -> str | None:
    """Why a certificate (with what signed it after it) and its key cannot be served; None when they can.

    `common_name`: the name it must carry, for a client. `host`: a name it must be valid for, for a server.
    `file`: how the two are called, without `.crt` and `.key`.
    """
    chain = _read(cert)
    if not chain:
        return f"{file}.crt is not a certificate in PEM form"
    if (mismatch := _flaw_of_key(key, chain[0], file)) is not None:
        return mismatch
    if (past := _flaw_of_life(chain[0], f"{file}.crt", now)) is not None:
        return past
    names = [str(name.value) for name in chain[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if common_name and names != [common_name]:
        return f"the common name in tls.crt is {' '.join(names) or 'missing'!r}, it must be {common_name!r}"
    if host and not any(_covers(name, host) for name in _hosts(chain[0])):
        return f"tls.crt is not valid for the name {host!r}, by which pgBouncer reaches the primary"
    return None


def flaw_of_trust(cert: bytes, ca: bytes) -> str | None:
    """Why a client that trusts `ca` would not accept the certificate; None when it would."""
    trusted, chain = _read(ca), _read(cert)
    if not trusted:
        return "ca.crt is not a certificate in PEM form"
    leaf, *between = chain
    seen: list[x509.Certificate] = []
    while not any(leaf == one or _signed(leaf, one) for one in trusted):
        seen.append(leaf)
        above = next((one for one in between if one not in seen and _signed(leaf, one)), None)
        if above is None:
            return "tls.crt was not signed by an authority in ca.crt"
        leaf = above
    return None


def flaw_of_roots(ca: bytes) -> str | None:
    """Why a list of authorities cannot be used."""
    return None if _read(ca) else "ca.crt is not a certificate in PEM form"


def flaw_of_authority(cert: bytes, key: bytes, now: datetime) -> str | None:
    """Why an authority cannot sign."""
    found = _read(cert)
    if not found:
        return "root.crt is not a certificate in PEM form"
    try:
        is_ca = found[0].extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        is_ca = False
    if not is_ca:
        return "root.crt is not the certificate of an authority"
    return _flaw_of_key(key, found[0], "root") or _flaw_of_life(found[0], "root.crt", now)


def joined(*bundles: bytes) -> bytes:
    """Several lists of certificates as one, each certificate once; one list alone stays as it is."""
    first, *others = dict.fromkeys(bundles)
    seen = list(_read(first))
    for bundle in others:
        for one in _read(bundle):
            if one not in seen:
                seen.append(one)
                first = first.rstrip(b"\n") + b"\n" + one.public_bytes(serialization.Encoding.PEM)
    return first


def _read(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except (ValueError, TypeError):
        return []


def _flaw_of_key(pem: bytes, cert: x509.Certificate, name: str) -> str | None:
    try:
        key: PrivateKeyTypes = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        return f"{name}.key has a passphrase"
    except ValueError:
        return f"{name}.key is not a private key in PEM form"
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != cert.public_key().public_bytes(*form):
        return f"{name}.key does not belong to the certificate in {name}.crt"
    return None


def _flaw_of_life(cert: x509.Certificate, name: str, now: datetime) -> str | None:
    if now >= cert.not_valid_after_utc:
        return f"{name} has expired on {cert.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
    if now < cert.not_valid_before_utc:
        return f"{name} is not valid before {cert.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC"
    return None


def _signed(cert: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        cert.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _hosts(cert: x509.Certificate) -> list[str]:
    """The names of a server; its common name counts only where there are no others, as with OpenSSL."""
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return [str(name.value) for name in cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return names.get_values_for_type(x509.DNSName)


def _covers(name: str, host: str) -> bool:
    if not name.startswith("*."):
        return name.lower() == host.lower()
    return name[2:].lower() == host.partition(".")[2].lower()
