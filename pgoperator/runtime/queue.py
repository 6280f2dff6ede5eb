"""The keyed work queue: delays, priorities, deduplication and fair shares of the workers."""

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import count

from pgoperator import metrics
from pgoperator.kube.backoff import pause
from pgoperator.kube.manifest import Key

FIRST, CAP = 0.005, 1000.0  # seconds; first and maximum backoff of a failing key
LOW = -100  # priority of the first list and of resyncs, as in controller-runtime
_SLACK = 64  # stale heap entries below which a clean-up is not worth its cost


class WorkQueue:
    """Keys with the time at which each becomes due.

    * A key is in the queue once; when it is added again, the earlier time wins.
    * At most one worker has a key; when it is added in the meantime, it is processed once more afterwards.
    * Of the due keys, changes come before first lists and resyncs, then the key that has been due longest.
    * A namespace never occupies more workers than are free: alone it can have half of them, and n busy
      namespaces leave one of n+1 parts to the next.
    """

    def __init__(
        self,
        name: str,
        *,
        workers: int = 0,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] | None = None,
    ) -> None:
        """`workers`: how many take keys, 0 = no shares; `clock`: monotonic seconds.

        `jitter(low, high)`: a random factor, which tests replace.
        """
        self.name = name
        self._workers = workers
        self._clock = clock
        self._jitter = {} if jitter is None else {"jitter": jitter}
        self._order = count()
        self._due: dict[Key, tuple[float, bool]] = {}  # every waiting key: when, and whether low
        self._later: list[tuple[float, int, Key]] = []  # heap; an entry that differs from _due is stale
        self._ready: dict[bool, dict[Key, float]] = {False: {}, True: {}}  # low -> key -> since, in order
        self._running: dict[Key, float] = {}  # key -> since
        self._busy: Counter[str] = Counter()  # namespace -> running keys
        self._failures: dict[Key, dict[float, int]] = {}  # key -> cap -> failures in a row
        self._wake = asyncio.Event()
        self._closed = False
        labels = (name, name)
        self._adds = metrics.QUEUE_ADDS.labels(*labels)
        self._retries = metrics.QUEUE_RETRIES.labels(*labels)
        self._waited = metrics.QUEUE_SECONDS.labels(*labels)
        self._worked = metrics.WORK_SECONDS.labels(*labels)

    def add(self, key: Key, *, after: float = 0.0, low: bool = False) -> None:
        """Make `key` due in `after` seconds, or at its earlier time if queued; `low` lowers its priority."""
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
        """Requeue a key whose pass failed; return the backoff in seconds, which doubles with each failure.

        Failures are counted per `cap`: the failures of an outage, which have a low cap, must not lengthen the
        backoff of the first error after the outage.
        """
        failures = self._failures.setdefault(key, {})
        failures[cap] = failures.get(cap, 0) + 1
        delay = pause(failures[cap], first=FIRST, cap=cap, **self._jitter)
        self._retries.inc()
        self.add(key, after=delay)
        return delay

    def forget(self, key: Key) -> None:
        """Reset the backoff of a key whose pass succeeded."""
        self._failures.pop(key, None)

    def failures(self, key: Key) -> int:
        """Return the number of consecutive failed passes of `key`."""
        return sum(self._failures.get(key, {}).values())

    def take(self) -> Key | None:
        """Return a due key and mark it as running; None when no key is due, or all namespaces wait."""
        now = self._clock()
        self._promote(now)
        key = self._next()
        if key is None:
            return None
        low = key in self._ready[True]
        self._waited.observe(now - self._ready[low].pop(key))
        del self._due[key]
        self._running[key] = now
        self._busy[key.namespace] += 1
        if self._next() is not None:
            self._wake.set()  # also for a key that waited for the share of its namespace
        return key

    def _next(self) -> Key | None:
        """Return the ready key that is taken next, None when the namespaces of all have their share."""
        free = self._workers - len(self._running)
        for ready in self._ready.values():
            for key in ready:
                busy = self._busy.get(key.namespace, 0)
                if not busy or busy < free or not self._workers:
                    return key
        return None

    def done(self, key: Key) -> None:
        """Mark `key` as no longer running; if it was added in the meantime, it is queued again."""
        self._worked.observe(self._clock() - self._running.pop(key))
        self._busy[key.namespace] -= 1
        if not self._busy[key.namespace]:
            del self._busy[key.namespace]
        if key in self._due:
            self._push(key, self._due[key][0])

    async def get(self) -> Key | None:
        """Wait for a due key; None once the queue is closed."""
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
        """Return the number of due keys by priority."""
        self._promote(self._clock())
        return {0: len(self._ready[False]), LOW: len(self._ready[True])}

    def running_seconds(self) -> list[float]:
        """Return for each running key the seconds since it was taken."""
        now = self._clock()
        return [now - since for since in self._running.values()]

    def waiting(self, key: Key) -> float | None:
        """Return the seconds until `key` is due (0 or less when due); None when it is not in the queue."""
        known = self._due.get(key)
        return None if known is None else known[0] - self._clock()

    def _push(self, key: Key, due: float) -> None:
        if len(self._later) > 2 * len(self._due) + _SLACK:
            self._later = [entry for entry in self._later if self._due.get(entry[2], (None,))[0] == entry[0]]
            heapq.heapify(self._later)
        heapq.heappush(self._later, (due, next(self._order), key))
        self._wake.set()

    def _promote(self, now: float) -> None:
        """Move due keys from the heap to the ready keys."""
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            known = self._due.get(key)
            if known is None or known[0] != due or key in self._running:
                continue  # stale, or running: `done` pushes it again
            ready = self._ready[known[1]]
            if key not in ready:
                ready[key] = due
                self._adds.inc()
