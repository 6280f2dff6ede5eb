"""The keyed work queue: what to look at, when, and never twice at once."""

import asyncio
import heapq
import time
from collections.abc import Callable, Mapping
from itertools import count

from pgoperator import metrics
from pgoperator.kube.backoff import pause
from pgoperator.kube.manifest import Key

FIRST, CAP = 0.005, 1000.0  # seconds between tries of a key that fails
LOW = -100  # priority, as controller-runtime counts: first list and resync yield to real changes
_SLACK = 64  # stale heap entries that are not worth a clean-up


class WorkQueue:
    """Keys with the time from which they may be worked on.

    * A key is in the queue once; added again, its earliest time wins.
    * A key is with one worker at most; added meanwhile, it comes once more after.
    * Of the keys that are due, changes go before first looks and resyncs, then the longest due.
    """

    def __init__(
        self,
        name: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] | None = None,
    ) -> None:
        """`clock`: monotonic seconds; `jitter(low, high)` draws a factor, for tests."""
        self.name = name
        self._clock = clock
        self._jitter = {} if jitter is None else {"jitter": jitter}
        self._order = count()
        self._due: dict[Key, tuple[float, bool]] = {}  # every waiting key: when, and whether low
        self._later: list[tuple[float, int, Key]] = []  # heap; an entry that differs from _due is stale
        self._ready: dict[bool, dict[Key, float]] = {False: {}, True: {}}  # low -> key -> since, in order
        self._running: dict[Key, float] = {}  # key -> since
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Event()
        self._closed = False
        labels = (name, name)
        self._adds = metrics.QUEUE_ADDS.labels(*labels)
        self._retries = metrics.QUEUE_RETRIES.labels(*labels)
        self._waited = metrics.QUEUE_SECONDS.labels(*labels)
        self._worked = metrics.WORK_SECONDS.labels(*labels)

    def add(self, key: Key, *, after: float = 0.0, low: bool = False) -> None:
        """Have `key` worked on `after` seconds from now, or earlier if it already is to be."""
        if self._closed:
            return
        due = self._clock() + max(after, 0.0)
        known = self._due.get(key)
        if known is not None:
            due, low = min(due, known[0]), low and known[1]
            if (due, low) == known:
                return
        self._due[key] = (due, low)
        if key in self._ready[True] and not low:
            self._ready[False][key] = self._ready[True].pop(key)
        elif key not in self._running and key not in self._ready[low]:
            self._push(key, due)

    def retry(self, key: Key, *, cap: float = CAP) -> float:
        """Put back a key whose pass failed; returns the seconds until its next try, doubled each time."""
        self._failures[key] = self._failures.get(key, 0) + 1
        delay = pause(self._failures[key], first=FIRST, cap=cap, **self._jitter)
        self._retries.inc()
        self.add(key, after=delay)
        return delay

    def forget(self, key: Key) -> None:
        """Reset the pauses of a key whose pass succeeded."""
        self._failures.pop(key, None)

    def failures(self, key: Key) -> int:
        """Return how many passes of `key` have failed in a row."""
        return self._failures.get(key, 0)

    def take(self) -> Key | None:
        """Return a key that is due and start its work; None when there is none now."""
        now = self._clock()
        self._promote(now)
        for ready in self._ready.values():
            if ready:
                key = next(iter(ready))
                self._waited.observe(now - ready.pop(key))
                del self._due[key]
                self._running[key] = now
                return key
        return None

    def done(self, key: Key) -> None:
        """End the work on `key`; if it was added meanwhile it is due again."""
        self._worked.observe(self._clock() - self._running.pop(key))
        if key in self._due:
            self._push(key, self._due[key][0])

    async def get(self) -> Key | None:
        """Wait for a key that is due; None once the queue is closed."""
        while not self._closed:
            key = self.take()
            if key is not None:
                return key
            self._wake.clear()
            wait = self._later[0][0] - self._clock() if self._later else None
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue
        return None

    def close(self) -> None:
        """Hand out no more keys."""
        self._closed = True
        self._wake.set()

    def depth(self) -> Mapping[int, int]:
        """Return how many keys are due, by priority."""
        self._promote(self._clock())
        return {0: len(self._ready[False]), LOW: len(self._ready[True])}

    def running_seconds(self) -> list[float]:
        """Return how long each key in work has been there."""
        now = self._clock()
        return [now - since for since in self._running.values()]

    def waiting(self, key: Key) -> float | None:
        """Return the seconds until `key` is due, 0 or less if it is; None when it is not in the queue."""
        known = self._due.get(key)
        return None if known is None else known[0] - self._clock()

    def _push(self, key: Key, due: float) -> None:
        if len(self._later) > 2 * len(self._due) + _SLACK:
            self._later = [entry for entry in self._later if self._due.get(entry[2], (None,))[0] == entry[0]]
            heapq.heapify(self._later)
        heapq.heappush(self._later, (due, next(self._order), key))
        self._wake.set()

    def _promote(self, now: float) -> None:
        """Move what has become due from the heap to the ready keys."""
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            known = self._due.get(key)
            if known is None or known[0] != due or key in self._running:
                continue  # stale, or `done` will push it again
            ready = self._ready[known[1]]
            if key not in ready:
                ready[key] = due
                self._adds.inc()
