"""A history of unique appends: which were acknowledged, by which server, and which survived. Pure.

Every append is tried once, so that an answer belongs to exactly one row. All clients read one clock.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

DIRECT = "direct"
Key = tuple[str, int]


@dataclass(frozen=True)
class Append:
    """One attempt to append a row, in monotonic seconds; server and timeline when it was acknowledged."""

    worker: str
    number: int
    start: float
    end: float
    error: str = ""
    server: str = ""
    timeline: int = 0

    @property
    def key(self) -> Key:
        """Return the unique key."""
        return self.worker, self.number

    @property
    def acknowledged(self) -> bool:
        """Return whether the database confirmed the append."""
        return not self.error

    @property
    def pooled(self) -> bool:
        """Return whether it went through pgBouncer, not directly to a member, which may be a replica."""
        return not self.worker.startswith(DIRECT)


@dataclass(frozen=True)
class History:
    """All attempts, and how often each row exists at the end."""

    appends: Sequence[Append]
    present: Mapping[Key, int]

    @property
    def acknowledged(self) -> list[Append]:
        """Return the confirmed attempts."""
        return [a for a in self.appends if a.acknowledged]

    @property
    def failed(self) -> list[Append]:
        """Return the attempts through pgBouncer that were not confirmed."""
        return [a for a in self.appends if a.pooled and not a.acknowledged]

    @property
    def lost(self) -> list[Append]:
        """Return the confirmed attempts whose rows do not exist."""
        return [a for a in self.acknowledged if not self.present.get(a.key)]

    @property
    def unknown(self) -> list[Append]:
        """Return the attempts whose rows exist although they were not confirmed, which is allowed."""
        return [a for a in self.appends if not a.acknowledged and self.present.get(a.key)]

    @property
    def duplicated(self) -> list[Key]:
        """Return the rows that exist more than once."""
        return sorted(key for key, count in self.present.items() if count > 1)

    @property
    def invented(self) -> list[Key]:
        """Return the rows that no client tried to append."""
        return sorted(set(self.present) - {a.key for a in self.appends})

    @property
    def unexplained(self) -> list[Append]:
        """Return the lost attempts that asynchronous replication does not explain.

        It can lose the end of a timeline that another timeline replaced: rows that no replica received. A
        lost row before a surviving row of the same timeline, or on the last timeline, has another cause.
        """
        last = max((a.timeline for a in self.acknowledged), default=0)
        survived: dict[int, float] = defaultdict(float)
        for a in self.acknowledged:
            if self.present.get(a.key):
                survived[a.timeline] = max(survived[a.timeline], a.start)
        return [a for a in self.lost if a.timeline == last or a.end < survived[a.timeline]]

    def gap(self, since: float) -> float:
        """Return the longest time without a confirmation through pgBouncer that ends after `since`."""
        pooled = [a for a in self.appends if a.pooled]
        times = sorted(a.end for a in pooled if a.acknowledged)
        end = max((a.end for a in pooled), default=since)
        return max((b - a for a, b in pairwise([*(times or [since]), end]) if b >= since), default=0.0)

    def errors(self) -> str:
        """Return the three most frequent errors through pgBouncer."""
        counts = Counter(a.error for a in self.failed)
        return "; ".join(f"{n}x {text[:120]}" for text, n in counts.most_common(3)) or "none"

    def double_primaries(self) -> list[str]:
        """Return the overlaps: an older primary confirmed an append that began after a newer one was active.

        A reign is a timeline on a server. After another reign has begun, it must not confirm anything.
        """
        reigns = _reigns(self.acknowledged)
        found = []
        for older, newer in combinations(reigns, 2):
            late = [a for a in older if a.start > newer[0].end]
            if late:
                seconds = late[-1].end - newer[0].end
                found.append(
                    f"{_name(older[0])} confirmed {len(late)} appends within {seconds:.2f} s"
                    f" after {_name(newer[0])} had confirmed one"
                )
        return found


def _reigns(acknowledged: Iterable[Append]) -> list[list[Append]]:
    """Return the reigns in order, the appends of each sorted by their end."""
    reigns: dict[tuple[int, str], list[Append]] = defaultdict(list)
    for a in sorted(acknowledged, key=lambda a: a.end):
        reigns[a.timeline, a.server].append(a)
    return sorted(reigns.values(), key=lambda reign: (reign[0].timeline, reign[0].end))


def _name(append: Append) -> str:
    return f"{append.server} (timeline {append.timeline})"
