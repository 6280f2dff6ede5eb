"""Compares stored objects with desired ones without a request to the server. Pure."""

import hashlib
import re
from decimal import Decimal
from typing import Any

import orjson

_QUANTITY = re.compile(
    r"([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)(?:([eE][+-]?\d+)|(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E))?"
)
_SUFFIX = {
    **{letter + "i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)},
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", start=1)},
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
}
# Fields with quantities as values, directly or below: only there "1024Mi" equals "1Gi".
_QUANTITIES = frozenset({"requests", "limits", "capacity", "sizeLimit", "divisor"})


def covers(stored: Any, desired: Any, *, quantities: bool = False) -> bool:
    """Return whether every field of `desired` has its value in `stored`, which can have more fields.

    Lists are compared element by element and must have the same length. An absent field equals null, false,
    0, "" and an empty list, because the server omits those. It does not equal `{}`, which can have a meaning
    (`emptyDir: {}`).
    """
    if isinstance(desired, dict):
        return isinstance(stored, dict) and all(
            covers(stored[field], value, quantities=quantities or field in _QUANTITIES)
            if field in stored
            else not value and not isinstance(value, dict)
            for field, value in desired.items()
        )
    if isinstance(desired, list):
        return (
            isinstance(stored, list)
            and len(stored) == len(desired)
            and all(covers(*pair, quantities=quantities) for pair in zip(stored, desired, strict=True))
        )
    if stored == desired and isinstance(stored, bool) == isinstance(desired, bool):
        return True
    return quantities and _same_quantity(stored, desired)


def project(stored: Any, desired: Any) -> Any:
    """Return the values of `stored` for the fields that `desired` contains."""
    if isinstance(stored, dict) and isinstance(desired, dict):
        return {field: project(stored[field], value) for field, value in desired.items() if field in stored}
    if isinstance(stored, list) and isinstance(desired, list) and len(stored) == len(desired):
        return [project(*pair) for pair in zip(stored, desired, strict=True)]
    return stored


def digest(value: Any) -> str:
    """Return a digest of `value` (20 hexadecimal digits) that does not depend on the order of fields."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:20]


def _same_quantity(one: Any, other: Any) -> bool:
    numbers = (quantity(one), quantity(other))
    return None not in numbers and numbers[0] == numbers[1]


def quantity(value: Any) -> Decimal | None:
    """Return the numeric value of a Kubernetes quantity, None when `value` is not a quantity."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        return None
    try:
        return Decimal(match[1] + (match[2] or "")) * _SUFFIX.get(match[3] or "", Decimal(1))
    except ArithmeticError:  # an exponent of many digits
        return None
