"""What a pass reports: problems that the user must fix, and conditions without their timestamps."""

from dataclasses import dataclass
from typing import NamedTuple

NOT_READY = "NotReady"
"""Reason of `Ready` and `Degraded` when instances are down without a known cause."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A cause that keeps a cluster from matching its spec.

    `reason` is the CamelCase reason of the condition, `message` a sentence for the user: object, cause and,
    where one exists, the next step.
    """

    reason: str
    message: str


class Finding(NamedTuple):
    """A condition of the status without its timestamps: type, status, reason and message."""

    type: str
    status: bool
    reason: str
    message: str
