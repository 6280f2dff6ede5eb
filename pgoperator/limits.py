"""Limits for values from outside, so that one object cannot take the operator's time or memory. Pure.

The API server limits an object to some MiB, but not its depth (free-form fields) nor the length of its lists.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import orjson

from pgoperator.errors import InvalidSpec

DEPTH = 64
"""Levels of a spec; free-form fields are the only ones without a depth of their own."""
KEPT_DEPTH = 200
"""Levels that are read at all: orjson reads 1024 and writes 254, Python recurses less than 1000 times."""
ITEMS = 1000
"""Entries of one list or map of a spec."""
VALUES = 20_000
"""Values of a whole spec."""
TEXT, STRING = 256 * 1024, 64 * 1024
"""Characters of a whole spec, for which `kubectl apply` has the same limit, and of one text in it."""
INSTANCES, SETS = 100, 20
"""Instances of one cluster or pods of its pooler, and instance sets."""
USERS, DATABASES, GRANTS = 1000, 200, 5000
"""Users of a cluster, databases of one user, and databases of all users together."""
CONTAINERS, VOLUMES = 20, 50
"""Containers of one kind in a pod, and volumes."""
RULES, OPTIONS, EXTENSIONS = 500, 100, 100
"""Lines for pg_hba.conf, options of one pgBackRest command, custom extensions."""
RSA_BITS = 8192
"""A signature with a larger key blocks the operator for a second and more."""
WHOLE = 2**63
"""Whole numbers are smaller, as in Kubernetes and PostgreSQL."""

MALFORMED = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError, OSError)
"""What code raises that reads JSON of an unexpected form."""

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_SHOWN_STEPS = 6
_FIRST_YEAR, _LAST_YEAR = 1970, 9000


def loads(text: str | bytes) -> Any:
    """Parse JSON; ValueError when it is malformed, or nested deeper than KEPT_DEPTH."""
    value = orjson.loads(text)
    if any(depth > KEPT_DEPTH for depth, _, _ in _walk(value, "")):
        raise ValueError(f"nested deeper than {KEPT_DEPTH} levels")
    return value


def fields(text: str) -> dict[str, Any]:
    """Parse a JSON object; {} for anything else."""
    try:
        value = loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def whole(value: Any) -> int:
    """Convert to a whole number from 0 on, 0 for null; ValueError for a number that no counter has."""
    number = int(value or 0)
    if not 0 <= number < WHOLE:
        raise ValueError("not a counter")
    return number


def moment(text: Any) -> datetime:
    """Parse an ISO 8601 time; ValueError without a time zone, or far from our time."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None or not _FIRST_YEAR <= time.year <= _LAST_YEAR:
        raise ValueError("not a moment of our time")
    return time


def cut(value: Any, depth: int = KEPT_DEPTH) -> Any:
    """Return a copy in which null replaces every list and map below `depth` levels."""
    if isinstance(value, dict):
        return {name: cut(below, depth - 1) for name, below in value.items()} if depth else None
    if isinstance(value, list):
        return [cut(below, depth - 1) for below in value] if depth else None
    return value


def shallow(raw: bytes) -> bytes:
    """Return JSON text in which null replaces every list and map below KEPT_DEPTH levels."""
    kept, begin, depth = [], 0, 0
    for token in _TOKEN.finditer(raw):
        sign = token[0]
        if sign in (b"{", b"["):
            depth += 1
            if depth == KEPT_DEPTH + 1:
                kept += [raw[begin : token.start()], b"null"]
        elif sign in (b"}", b"]"):
            depth -= 1
            if depth == KEPT_DEPTH:
                begin = token.end()
    return b"".join([*kept, raw[begin:]])


def check(spec: Any) -> None:
    """Raise InvalidSpec, with the path, for a spec that would take too much time or memory."""
    values = text = 0
    for depth, path, value in _walk(spec, "spec"):
        values += 1
        if isinstance(value, (dict, list)) and len(value) > ITEMS:
            raise _too_large(f"{path}: at most {ITEMS} entries are allowed, not {len(value)}")
        if depth > DEPTH:
            raise _too_large(f"{path}: at most {DEPTH} nested levels are allowed")
        if isinstance(value, (int, float)) and not -WHOLE <= value < WHOLE:
            raise _too_large(f"{path}: the number does not fit into 64 bits")
        if isinstance(value, str):
            if len(value) > STRING:
                raise _too_large(f"{path}: at most {STRING} characters are allowed, not {len(value)}")
            text += len(value)
        text += sum(map(len, value)) if isinstance(value, dict) else 0
    if values > VALUES:
        raise _too_large(f"spec: at most {VALUES} values are allowed, not {values}")
    if text > TEXT:
        raise _too_large(f"spec: at most {TEXT} characters of text are allowed, not {text}")


def check_total(path: str, what: str, number: int, most: int) -> None:
    """Raise InvalidSpec when several lists of a spec have too many entries together."""
    if number > most:
        raise _too_large(f"{path}: at most {most} {what} are allowed in total, not {number}")


def _too_large(message: str) -> InvalidSpec:
    return InvalidSpec(message, reason="TooLarge")


def _walk(value: Any, path: str) -> Iterator[tuple[int, str, Any]]:
    """Yield every value with its depth and its path, without recursion; the steps of the path are limited."""
    left = [(0, path, value)]
    while left:
        depth, path, value = left.pop()
        yield depth, path, value
        if isinstance(value, dict):
            left += [(depth + 1, _step(depth, path, f".{name:.63}"), below) for name, below in value.items()]
        elif isinstance(value, list):
            left += [(depth + 1, _step(depth, path, f"[{at}]"), below) for at, below in enumerate(value)]


def _step(depth: int, path: str, step: str) -> str:
    return path + step if depth < _SHOWN_STEPS else path
