"""Growing pauses between attempts."""

import random
from collections.abc import Callable

JITTER = 0.2  # a pause is up to this part shorter, so that many who failed together do not return together


def pause(
    failures: int, *, first: float, cap: float, jitter: Callable[[float, float], float] = random.uniform
) -> float:
    """Return the seconds to wait after `failures` (1, 2, …) in a row: `first`, doubled up to `cap`."""
    # 2**1000 does not fit a float; from 64 on the cap has long been reached.
    full = min(cap, first * 2.0 ** min(failures - 1, 64))
    return full * jitter(1 - JITTER, 1)


class Backoff:
    """The pauses of one thing that is tried again and again."""

    def __init__(self, first: float, cap: float) -> None:
        """Times in seconds."""
        self._first = first
        self._cap = cap
        self.failures = 0

    def next(self) -> float:
        """Count a failure and return how long to wait."""
        self.failures += 1
        return pause(self.failures, first=self._first, cap=self._cap)

    def reset(self) -> None:
        """Say that it worked."""
        self.failures = 0
