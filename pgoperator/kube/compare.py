"""Whether an object already is as desired, without asking the server. Pure."""

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
# Fields whose values, or the values below them, are quantities: only there "1024Mi" and "1Gi" are the same.
_QUANTITIES = frozenset({"requests", "limits", "capacity", "sizeLimit", "divisor"})


def covers(stored: Any, desired: Any, *, quantities: bool = False) -> bool:
    """Tell whether every field of `desired` has its value in `stored`, which may have more.

    Lists are compared element by element and must have the same length. A field that is absent equals one
    that is null, false, 0, "" or an empty list, since the server leaves those out; it does not equal `{}`,
    which often means something (`emptyDir: {}`).
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
    """Return what `stored` has where `desired` says something."""
    if isinstance(stored, dict) and isinstance(desired, dict):
        return {field: project(stored[field], value) for field, value in desired.items() if field in stored}
    if isinstance(stored, list) and isinstance(desired, list) and len(stored) == len(desired):
        return [project(*pair) for pair in zip(stored, desired, strict=True)]
    return stored


def digest(value: Any) -> str:
    """Return 20 hexadecimal digits that stand for `value`, independent of the order of fields."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:20]


def _same_quantity(one: Any, other: Any) -> bool:
    numbers = (quantity(one), quantity(other))
    return None not in numbers and numbers[0] == numbers[1]


def quantity(value: Any) -> Decimal | None:
    """Return the number that a Kubernetes quantity means, None when it is none."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        return None
    return Decimal(match[1] + (match[2] or "")) * _SUFFIX.get(match[3] or "", Decimal(1))
