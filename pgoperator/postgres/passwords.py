"""Passwords the operator makes up."""

import string
from collections.abc import Callable
from typing import Literal

_ALPHANUMERIC = string.ascii_letters + string.digits

# Quotes, backslash and blank would need escapes in users.txt of pgBouncer, in connection strings and in
# .pgpass; `$` starts a reference in the environment of a container. What is left makes 6.4 bits a character.
_ASCII = _ALPHANUMERIC + "".join(sorted(set(string.punctuation) - set("\"'`\\$")))


def generate(kind: Literal["ASCII", "AlphaNumeric"], length: int, choice: Callable[[str], str]) -> str:
    """Draw a password with `choice`, which is `secrets.choice` but in tests."""
    if length < 1:
        raise ValueError("a password has at least one character")
    alphabet = _ASCII if kind == "ASCII" else _ALPHANUMERIC
    return "".join(choice(alphabet) for _ in range(length))
