"""Timelines of PostgreSQL: where each has left the one before.

The archive has a history file for each timeline but the first: a line for each of its ancestors, with the
position at which the next one begins (https://www.postgresql.org/docs/current/continuous-archiving.html).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_LINE = re.compile(r"\s*(\d{1,10})\s+([0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8})\s")


def position(text: str) -> int:
    """A position in the WAL, such as 0/3000060, as a number."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


@dataclass(frozen=True, slots=True)
class Timeline:
    """A timeline, and the end of each of its ancestors as a position in the WAL."""

    number: int
    ancestors: Mapping[int, int]

    @classmethod
    def parse(cls, number: int, history: str) -> "Timeline":
        """Read the history file of the timeline `number`; lines of another form are comments."""
        found = [match for line in history.splitlines() if (match := _LINE.match(f"{line} "))]
        return cls(number, {int(match[1]): position(match[2]) for match in found})

    def has(self, timeline: int, place: int) -> bool:
        """Whether this position of a timeline is part of the history of this one."""
        end = self.ancestors.get(timeline)
        return timeline == self.number or (end is not None and place <= end)
