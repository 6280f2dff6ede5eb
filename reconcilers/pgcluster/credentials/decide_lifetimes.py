"""How long certificates should be valid: `spec.tls`. Pure."""

import re
from dataclasses import dataclass
from datetime import timedelta

from pgoperator.api.security import TLS
from pgoperator.errors import InvalidSpec

SHORTEST_LIFE = timedelta(hours=1)
"""Certificates are checked every ten minutes, and renewed when a third of their lifetime is left."""

_LONGEST = 100  # characters of a duration: the search takes time that grows with their square
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def duration(text: str | None, path: str) -> timedelta | None:
    """Read a duration in Go's notation, such as 2160h or 1h30m; None for an absent one.

    InvalidSpec for another notation, less than an hour or more than 100 years. `path` is the field.
    """
    if not text:
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)", text) if len(text) <= _LONGEST else []
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise InvalidSpec(
            f"{path}: {text!r} is not a duration such as 2160h or 1h30m", reason="InvalidDuration"
        )
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    try:
        parsed = timedelta(seconds=int(seconds))
    except OverflowError:
        parsed = timedelta.max
    if not SHORTEST_LIFE <= parsed <= timedelta(days=36500):
        raise InvalidSpec(
            f"{path}: {text!r} must be at least 1h and at most 100 years", reason="InvalidDuration"
        )
    return parsed


@dataclass(frozen=True, slots=True)
class CertificateLifetimes:
    """How long certificates should be valid; None keeps the lifetime of existing certificates."""

    authority: timedelta | None = None
    leaf: timedelta | None = None
    pgbackrest: timedelta | None = None

    @classmethod
    def of(cls, tls: TLS) -> "CertificateLifetimes":
        """Read `spec.tls`."""
        leaf = duration(tls.cert_validity_duration, "spec.tls.certValidityDuration")
        path = "spec.tls.pgBackRestCertValidityDuration"
        return cls(
            authority=duration(tls.ca_validity_duration, "spec.tls.caValidityDuration"),
            leaf=leaf,
            pgbackrest=duration(tls.pgbackrest_cert_validity_duration, path) or leaf,
        )
