"""Attributes of a role, as a user writes them in `spec.users[].options`: a strict subset of ALTER ROLE."""

import re
from collections.abc import Mapping
from datetime import datetime

from pgoperator.errors import InvalidSpec

Attribute = tuple[str, bool | int | str]
"""Column of pg_authid and its wanted value."""

_FLAGS: Mapping[str, str] = {
    "BYPASSRLS": "rolbypassrls",
    "CREATEDB": "rolcreatedb",
    "CREATEROLE": "rolcreaterole",
    "INHERIT": "rolinherit",
    "LOGIN": "rolcanlogin",
    "REPLICATION": "rolreplication",
    "SUPERUSER": "rolsuper",
}
_TOKEN = re.compile(r"\s*('(?:[^'\\]|'')*'|-?\w+|\S)")
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?\s?(Z|[+-]\d\d(:?\d\d)?)?)?", re.ASCII | re.IGNORECASE
)
_HIGHEST_LIMIT = 2**31 - 1


def parse_options(text: str) -> tuple[Attribute, ...]:
    """Read role attributes; `InvalidSpec` names the first word that is none, or that stands there twice.

    PASSWORD is none of them: it would put a clear text into the custom resource. IN ROLE cannot be altered.
    A time must be `infinity` or begin with an ISO date: PostgreSQL would take others too, but could then
    refuse the statement, and with it every change to roles.
    """
    words = _TOKEN.findall(text)
    found: dict[str, bool | int | str] = {}
    while words:
        word = words.pop(0)
        upper = word.upper()
        flag = upper.removeprefix("NO") if upper not in _FLAGS else upper
        if upper == "WITH" and not found:
            continue
        if flag in _FLAGS:
            column, value = _FLAGS[flag], flag == upper
        elif upper == "CONNECTION":
            column, value = "rolconnlimit", _limit(words)
        elif upper == "VALID":
            column, value = "rolvaliduntil", _until(words)
        else:
            raise InvalidSpec(f"{word!r} is not an option a user can have", reason="InvalidUser")
        if column in found:
            raise InvalidSpec(f"{word!r} repeats or contradicts an earlier option", reason="InvalidUser")
        found[column] = value
    return tuple(found.items())


def _limit(words: list[str]) -> int:
    """Read what follows CONNECTION."""
    second, number = _take(words, "CONNECTION"), _take(words, "CONNECTION LIMIT")
    if second.upper() != "LIMIT":
        raise InvalidSpec(f"{second!r} after CONNECTION should be LIMIT", reason="InvalidUser")
    if re.fullmatch(r"-1|[0-9]{1,10}", number, re.ASCII) is None or int(number) > _HIGHEST_LIMIT:
        raise InvalidSpec(f"{number!r} is not a connection limit", reason="InvalidUser")
    return int(number)


def _until(words: list[str]) -> str:
    """Read what follows VALID."""
    second, time = _take(words, "VALID"), _take(words, "VALID UNTIL")
    if second.upper() != "UNTIL":
        raise InvalidSpec(f"{second!r} after VALID should be UNTIL", reason="InvalidUser")
    text = time[1:-1].strip()
    if not time.startswith("'") or (text.lower() != "infinity" and not _is_time(text)):
        raise InvalidSpec(f"{time} is neither 'infinity' nor a quoted ISO time", reason="InvalidUser")
    return text


def _is_time(text: str) -> bool:
    if _TIME.fullmatch(text) is None:
        return False
    try:
        datetime.fromisoformat(text.replace(" ", "T", 1).replace(" ", ""))
    except ValueError:
        return False
    return True


def _take(words: list[str], before: str) -> str:
    if not words:
        raise InvalidSpec(f"the options end after {before}", reason="InvalidUser")
    return words.pop(0)
