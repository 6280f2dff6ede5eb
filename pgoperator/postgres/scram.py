"""SCRAM-SHA-256 verifiers as PostgreSQL stores them in pg_authid.

Format: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, binary parts in base64. The keys are
those of RFC 5802 §3. Passwords are prepared by RFC 4013 with PostgreSQL's exception
(`src/common/saslprep.c`): a password that RFC 4013 rejects is used unchanged.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import stringprep
import unicodedata
from collections import OrderedDict

_FORM = re.compile(
    r"SCRAM-SHA-256\$(?P<iterations>[1-9][0-9]{0,5}):(?P<salt>[A-Za-z0-9+/]+=*)"
    r"\$(?P<stored>[A-Za-z0-9+/]{43}=):(?P<server>[A-Za-z0-9+/]{43}=)"
)
MOST_ITERATIONS = 100_000
"""PostgreSQL's default is 4096. The check of a verifier costs 0.3 ms for each 1000 iterations, and everybody
who can write Secrets can write a verifier."""

_REMEMBERED = 10_000
_REMEMBER_KEY = secrets.token_bytes(32)
_remembered: OrderedDict[bytes, None] = OrderedDict()
"""Digests of verifiers with the passwords that match them; the next check costs no iterations."""

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def verifier(password: str, salt: bytes, iterations: int = 4096) -> str:
    """Return the verifier of `password`; `salt`: 16 random bytes."""
    stored, server = _keys(password, salt, iterations)
    parts = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return "SCRAM-SHA-256${}:{}${}:{}".format(iterations, *parts)


def is_verifier(text: str) -> bool:
    """Return whether PostgreSQL would store `text` unchanged; it treats any other text as a password.

    A verifier with more than MOST_ITERATIONS does not count.
    """
    return _parse(text) is not None


def _parse(text: str) -> re.Match[str] | None:
    form = _FORM.fullmatch(text)
    return form if form is not None and int(form["iterations"]) <= MOST_ITERATIONS else None


def matches(verifier: str, password: str) -> bool:
    """Return whether `verifier` was made from `password`; False for a text that is not a verifier.

    The first check takes up to 40 ms of CPU time, so call it outside of an event loop.
    """
    form = _parse(verifier)
    if form is None:
        return False
    text = f"{verifier}\0{password}".encode("utf-8", "surrogateescape")
    known = hashlib.blake2b(text, digest_size=16, key=_REMEMBER_KEY).digest()
    if known in _remembered:
        return True
    try:
        salt, stored, server = (
            base64.b64decode(form[part], validate=True) for part in ("salt", "stored", "server")
        )
    except binascii.Error:
        return False
    expected = _keys(password, salt, int(form["iterations"]))
    if not hmac.compare_digest(expected[0] + expected[1], stored + server):
        return False
    _remembered[known] = None
    while len(_remembered) > _REMEMBERED:
        _remembered.popitem(last=False)
    return True


def _keys(password: str, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    """Return StoredKey and ServerKey."""
    prepared = _saslprep(password).encode("utf-8", "surrogateescape")
    salted = hashlib.pbkdf2_hmac("sha256", prepared, salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    return hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256")


def _saslprep(password: str) -> str:
    """Prepare a password; return it unchanged where RFC 4013 rejects it."""
    if password.isascii():
        return password
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in password
        if not stringprep.in_table_b1(character)
    )
    text = unicodedata.normalize("NFKC", mapped)
    if not text or any(table(character) for character in text for table in _PROHIBITED):
        return password
    if any(stringprep.in_table_d1(character) for character in text):
        mixed = any(stringprep.in_table_d2(character) for character in text)
        if mixed or not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])):
            return password
    return text
