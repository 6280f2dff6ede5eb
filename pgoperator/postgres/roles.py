"""Parses role attributes in `spec.users[].options`, a strict subset of the ALTER ROLE syntax."""

import re
from collections.abc import Mapping
from datetime import datetime

from pgoperator.errors import InvalidSpec

Attribute = tuple[str, bool | int | str]
"""Column of pg_authid and its desired value."""

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
    """Parse role attributes; `InvalidSpec` names the first unknown or repeated option.

    PASSWORD is not supported, because the custom resource would contain it as plain text. ALTER ROLE does not
    support IN ROLE. A time must be `infinity` or begin with an ISO date: PostgreSQL accepts other formats,
    but an invalid one would make it reject the transaction with all changes to roles.
    """
    tokens = _TOKEN.findall(text)
    attributes: dict[str, bool | int | str] = {}
    while tokens:
        token = tokens.pop(0)
        upper = token.upper()
        flag = upper.removeprefix("NO") if upper not in _FLAGS else upper
        if upper == "WITH" and not attributes:
            continue
        if flag in _FLAGS:
            column, value = _FLAGS[flag], flag == upper
        elif upper == "CONNECTION":
            column, value = "rolconnlimit", _limit(tokens)
        elif upper == "VALID":
            column, value = "rolvaliduntil", _until(tokens)
        else:
            raise InvalidSpec(f"{token!r} is not a supported user option", reason="InvalidUser")
        if column in attributes:
            raise InvalidSpec(f"{token!r} repeats or contradicts an earlier option", reason="InvalidUser")
        attributes[column] = value
    return tuple(attributes.items())


def _limit(tokens: list[str]) -> int:
    """Parse the tokens after CONNECTION."""
    second, number = _take(tokens, "CONNECTION"), _take(tokens, "CONNECTION LIMIT")
    if second.upper() != "LIMIT":
        raise InvalidSpec(f"{second!r} after CONNECTION must be LIMIT", reason="InvalidUser")
    if re.fullmatch(r"-1|[0-9]{1,10}", number, re.ASCII) is None or int(number) > _HIGHEST_LIMIT:
        raise InvalidSpec(f"{number!r} is not a valid connection limit", reason="InvalidUser")
    return int(number)


def _until(tokens: list[str]) -> str:
    """Parse the tokens after VALID."""
    second, time = _take(tokens, "VALID"), _take(tokens, "VALID UNTIL")
    if second.upper() != "UNTIL":
        raise InvalidSpec(f"{second!r} after VALID must be UNTIL", reason="InvalidUser")
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


def _take(tokens: list[str], before: str) -> str:
    if not tokens:
        raise InvalidSpec(f"the user options end after {before}: a value is missing", reason="InvalidUser")
    return tokens.pop(0)
