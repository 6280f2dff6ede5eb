"""Quoting of identifiers and strings for SQL and for psql commands."""

from pgoperator.errors import InvalidSpec

LONGEST_NAME = 63
"""Maximum bytes of an identifier (NAMEDATALEN - 1); PostgreSQL truncates longer ones without an error."""


def quote_ident(name: str) -> str:
    """Quote an identifier for SQL. It is always quoted, so no list of key words is needed."""
    return '"' + _checked(name).replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    r"""Quote a string for SQL; with a backslash as E'…', which does not depend on server settings."""
    quoted = "'" + _checked(text).replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in quoted else quoted


def psql_set(variable: str, text: str) -> str:
    r"""Return a `\set` command of psql, on one line; psql supports C-like escapes in single quotes."""
    escaped = _checked(text).replace("\\", "\\\\").replace("'", "\\'")
    escaped = escaped.replace("\n", "\\n").replace("\r", "\\r")
    return f"\\set {variable} '{escaped}'\n"


def check_name(kind: str, name: str) -> str:
    """Return `name` unchanged; `InvalidSpec` if it is empty or too long for PostgreSQL."""
    if not 0 < len(_checked(name).encode()) <= LONGEST_NAME:
        raise InvalidSpec(f"the {kind} name {name!r} must be 1 to {LONGEST_NAME} bytes long")
    return name


def _checked(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidSpec(f"{text!r} is not valid Unicode: it contains an unpaired surrogate") from None
    if "\0" in text:
        raise InvalidSpec(f"{text!r} contains a NUL character, which PostgreSQL does not allow")
    return text
