"""Exponential backoff with jitter."""

import random
from collections.abc import Callable

JITTER = 0.2  # maximum fraction by which a pause is shortened, to spread simultaneous retries


def pause(
    failures: int, *, first: float, cap: float, jitter: Callable[[float, float], float] = random.uniform
) -> float:
    """Return the seconds to wait after `failures` (1, 2, …) in a row: `first`, doubled up to `cap`."""
    # 2**1024 overflows a float; the cap is reached long before 64 failures.
    full = min(cap, first * 2.0 ** min(failures - 1, 64))
    return full * jitter(1 - JITTER, 1)


class Backoff:
    """Counts the consecutive failures of one operation and computes its pauses."""

    def __init__(self, first: float, cap: float) -> None:
        """Times in seconds."""
        self._first = first
        self._cap = cap
        self.failures = 0

    def next(self) -> float:
        """Count a failure and return the seconds to wait."""
        self.failures += 1
        return pause(self.failures, first=self._first, cap=self._cap)

    def reset(self) -> None:
        """Reset after a success."""
        self.failures = 0
