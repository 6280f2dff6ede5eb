"""The one digest of the operator: SHA-256 in hexadecimal, cut to what its use needs."""

import hashlib

FULL = 64
"""Characters of the whole digest."""


def digest(content: str | bytes, length: int = FULL) -> str:
    """Digest of text or bytes; `length` characters of it.

    It distinguishes contents and is safe to show where the content has enough entropy of its own. A weak
    password does not: digest its salted verifier instead.
    """
    data = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(data).hexdigest()[:length]
