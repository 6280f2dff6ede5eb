"""Generated passwords."""

import string
from collections.abc import Callable
from typing import Literal

_ALPHANUMERIC = string.ascii_letters + string.digits

# Characters that need no escape: not in a URI (whose percent signs also break Python's ConfigParser),
# in pgBouncer's users.txt, in connection strings, in .pgpass or in a shell.
_ASCII = _ALPHANUMERIC + "-._~"


def generate(kind: Literal["ASCII", "AlphaNumeric"], length: int, choice: Callable[[str], str]) -> str:
    """Generate a password of `length` characters; `choice` is `secrets.choice` except in tests."""
    if length < 1:
        raise ValueError("a password must have at least one character")
    alphabet = _ASCII if kind == "ASCII" else _ALPHANUMERIC
    return "".join(choice(alphabet) for _ in range(length))
