"""SCRAM-SHA-256 verifiers as PostgreSQL stores them in pg_authid.

Format: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, binary parts in base64; the keys are
those of RFC 5802 §3, the preparation of the password that of RFC 4013 with PostgreSQL's own leniency
(`src/common/saslprep.c`): what cannot be prepared is used as it stands.
"""

import base64
import binascii
import hashlib
import hmac
import re
import stringprep
import unicodedata

_FORM = re.compile(
    r"SCRAM-SHA-256\$(?P<iterations>[1-9][0-9]{0,6}):(?P<salt>[A-Za-z0-9+/]+=*)"
    r"\$(?P<stored>[A-Za-z0-9+/]{43}=):(?P<server>[A-Za-z0-9+/]{43}=)"
)
"""At most 7 digits of iterations: more would let one Secret keep the operator busy for minutes."""

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
    """Write the verifier of `password`; `salt` is 16 random bytes."""
    stored, server = _keys(password, salt, iterations)
    parts = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return "SCRAM-SHA-256${}:{}${}:{}".format(iterations, *parts)


def is_verifier(text: str) -> bool:
    """Tell whether PostgreSQL would store `text` as it is; anything else it would take for a password."""
    return _FORM.fullmatch(text) is not None


def matches(verifier: str, password: str) -> bool:
    """Tell whether `verifier` was made from `password`; False for a text that is no verifier."""
    form = _FORM.fullmatch(verifier)
    if form is None:
        return False
    try:
        salt, stored, server = (
            base64.b64decode(form[part], validate=True) for part in ("salt", "stored", "server")
        )
    except binascii.Error:
        return False
    expected = _keys(password, salt, int(form["iterations"]))
    return hmac.compare_digest(expected[0] + expected[1], stored + server)


def _keys(password: str, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    """StoredKey and ServerKey."""
    prepared = _saslprep(password).encode("utf-8", "surrogateescape")
    salted = hashlib.pbkdf2_hmac("sha256", prepared, salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    return hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256")


def _saslprep(password: str) -> str:
    """Prepare a password; return it unchanged where RFC 4013 would refuse it."""
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
