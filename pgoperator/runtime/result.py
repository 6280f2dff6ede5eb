"""Results of a pass that did not fail."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    """The desired state is reached; the next event or the resync triggers the next pass."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Not done yet because of `reason`; requeue after `seconds`, or earlier on an event."""

    reason: str
    seconds: float


Result = Done | Wait
