"""Quoting of names and texts for SQL and for psql's own commands."""

from pgoperator.errors import InvalidSpec

LONGEST_NAME = 63
"""Bytes of a name (NAMEDATALEN - 1); PostgreSQL cuts off the rest without an error."""


def quote_ident(name: str) -> str:
    """Write a name for SQL. Always quoted, so that no list of key words is needed."""
    return '"' + _checked(name).replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    r"""Write a text for SQL; with a backslash as E'…', which reads alike whatever the server's settings."""
    quoted = "'" + _checked(text).replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in quoted else quoted


def psql_set(variable: str, text: str) -> str:
    r"""Write a psql command that sets a variable: psql reads C-like escapes in single quotes, on one line."""
    escaped = _checked(text).replace("\\", "\\\\").replace("'", "\\'")
    escaped = escaped.replace("\n", "\\n").replace("\r", "\\r")
    return f"\\set {variable} '{escaped}'\n"


def check_name(kind: str, name: str) -> str:
    """Return a name as it is, or raise `InvalidSpec` when PostgreSQL could not hold the whole of it."""
    if not 0 < len(_checked(name).encode()) <= LONGEST_NAME:
        raise InvalidSpec(f"the {kind} name {name!r} must have 1 to {LONGEST_NAME} bytes")
    return name


def _checked(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidSpec(f"{text!r} has half a character") from None
    if "\0" in text:
        raise InvalidSpec(f"{text!r} has a NUL, which PostgreSQL cannot hold")
    return text
