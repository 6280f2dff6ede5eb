"""A writer through pgBouncer: the longest gap without an acknowledged write, and the lost writes.

The writer runs detached inside a client pod, so that it continues while the API server, which carries
`kubectl exec`, is down. All nodes share this machine's monotonic clock, so their times can be compared.
"""

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Self

from tests.support.clients import Client, scripts
from tests.support.clusters import Cluster
from tests.support.kubectl import KubectlError, until


@dataclass(frozen=True)
class Attempt:
    """One insert, in monotonic seconds."""

    number: int
    start: float
    end: float
    result: str


@dataclass(frozen=True)
class Report:
    """The writer's attempts, and the rows in the database."""

    attempts: tuple[Attempt, ...]
    present: frozenset[int]

    @property
    def acknowledged(self) -> list[Attempt]:
        """Return the attempts that the database confirmed."""
        return [a for a in self.attempts if a.result == "ok"]

    @property
    def failed(self) -> list[Attempt]:
        """Return the attempts that were not confirmed."""
        return [a for a in self.attempts if a.result != "ok"]

    @property
    def lost(self) -> list[int]:
        """Return the numbers that were confirmed but do not exist."""
        return sorted({a.number for a in self.acknowledged} - self.present)

    def between(self, start: float, end: float) -> int:
        """Return how many attempts were confirmed between two times."""
        return sum(start <= a.end <= end for a in self.acknowledged)

    def gap(self, start: float = 0.0, end: float = float("inf")) -> float:
        """Return the longest time without a confirmation that touches the time from `start` to `end`."""
        first, last = self.longest(start, end)
        return last - first

    def longest(self, start: float = 0.0, end: float = float("inf")) -> tuple[float, float]:
        """Return when that time began and ended."""
        pairs = pairwise(a.end for a in self.acknowledged)
        touching = [(a, b) for a, b in pairs if b >= start and a <= end]
        return max(touching, key=lambda pair: pair[1] - pair[0], default=(start, start))

    def errors(self) -> str:
        """Return the three most frequent errors."""
        counts = Counter(a.result for a in self.attempts if a.result != "ok")
        return "; ".join(f"{n}x {text[:160]}" for text, n in counts.most_common(3)) or "none"

    def describe(self, what: str, since: float) -> str:
        """Return a summary in one line."""
        total = len(self.acknowledged)
        return (
            f"{what}: {self.gap(since):.2f} s without an acknowledged write; "
            f"{total} acknowledged, {len(self.lost)} of them lost; errors: {self.errors()}"
        )


class Writer:
    """A running writer; use it as a context manager, and call `report` before the context ends."""

    def __init__(self, client: Client, cluster: Cluster, run: str, patience: float = 3.0) -> None:
        """Write rows into a table named after `run`; an attempt times out after `patience` seconds."""
        self.client, self.cluster, self._patience = client, cluster, patience
        self._table = f"writes_{run}"
        self._folder = f"/tmp/{self._table}-{time.monotonic_ns()}"
        self._stopped = False

    def __enter__(self) -> Self:
        uri = self.cluster.credentials()["pgbouncer-uri"]
        self.client.sql(
            uri, f"DROP TABLE IF EXISTS {self._table}; CREATE TABLE {self._table} (n bigint PRIMARY KEY)"
        )
        self.client.run("mkdir", "-p", self._folder)
        self.client.write(f"{self._folder}/writer.py", scripts())
        command = f"setsid python3 {self._folder}/writer.py {self._folder} {self._table} {self._patience}"
        script = f'read -r uri; {command} <<<"$uri" >{self._folder}/out 2>&1 &'
        self.client.run("bash", "-c", script, stdin=uri + "\n")
        until("the writer writes", lambda: self.count() >= 5, 30, self._output)
        return self

    def count(self) -> int:
        """Return how many rows are confirmed so far."""
        return int(self.client.run("bash", "-c", f"grep -c ' ok$' {self._folder}/log || true").strip() or 0)

    def last(self) -> float:
        """Return the time of the last confirmed row, in monotonic seconds."""
        line = self.client.run("bash", "-c", f"grep ' ok$' {self._folder}/log | tail -n 1").split()
        return float(line[2]) if line else 0.0

    def wait_for_writes(self, since: float, seconds: float, steady: float = 3.0) -> float:
        """Wait until writes are acknowledged again without a break."""

        def check() -> bool:
            text = self.client.run("bash", "-c", f"tail -n 400 {self._folder}/log")
            times = [a.end for a in _parse(text) if a.result == "ok" and a.end > since]
            recent = [t for t in times if t > times[-1] - steady] if times else []
            pairs = pairwise(recent)
            fresh = time.monotonic() - times[-1] < 2 if times else False
            return fresh and recent[-1] - recent[0] > steady * 0.6 and all(b - a < 1 for a, b in pairs)

        until(
            "writes are acknowledged again",
            check,
            seconds,
            lambda: self._output() + self.cluster.explain(),
            0.5,
        )
        return time.monotonic()

    def report(self) -> Report:
        """Stop the writer and compare its acknowledged rows with the table; the cluster must be up."""
        self._stop()
        attempts = _parse(self.client.run("cat", f"{self._folder}/log"))
        user = self.cluster.name
        text = self.cluster.psql(f'SELECT n FROM "{user}".{self._table}', database=user)
        return Report(tuple(attempts), frozenset(map(int, text.split())))

    def _stop(self) -> None:
        if not self._stopped:
            self.client.run("touch", f"{self._folder}/stop")
            until(
                "the writer ends",
                lambda: "done" in self.client.run("ls", self._folder).split(),
                20,
                self._output,
            )
            self._stopped = True

    def _output(self) -> str:
        return self.client.run("bash", "-c", f"tail -n 5 {self._folder}/out {self._folder}/log")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._stop()
            return
        with suppress(KubectlError):  # the first error is the one to show
            self.client.run("touch", f"{self._folder}/stop")


def _parse(text: str) -> list[Attempt]:
    found = []
    for line in text.splitlines():
        parts = line.split(" ", 3)
        if len(parts) == 4 and parts[0].isdecimal():
            found.append(Attempt(int(parts[0]), float(parts[1]), float(parts[2]), parts[3]))
    return found
