"""How a pass ends when it does not fail."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    """All is as desired; the next event or the resync brings the key back."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet, for `reason`; look again after `seconds` unless an event comes first."""

    reason: str
    seconds: float


Result = Done | Wait
