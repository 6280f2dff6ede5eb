"""Which rows must be in the table after a step, and which must not. Pure; knows nothing of pgBackRest.

Clients try each row once and note when the attempt began and ended. A moment is noted in between. A row that
was confirmed before a moment is part of it, a row that was tried after it is not, and both is allowed for a
row that was on its way. All times are seconds of this machine's monotonic clock.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from tests.chaos.history import Append, History, Key

LATE = 30.0
"""A commit may become visible so many seconds after its client gave up."""


class Loss(Enum):
    """What a step may cost."""

    NONE = "none"
    UNREPLICATED = "confirmed rows that no replica had received"


@dataclass(frozen=True)
class Moment:
    """A target of a restore: the rows that it must and may contain."""

    number: int
    """Moments of all lines are numbered in the order in which they were noted."""
    line: int
    options: tuple[str, ...]
    """Of a PerconaPGRestore, without the timeline."""
    must: frozenset[Key]
    may: frozenset[Key]


@dataclass
class Line:
    """A line of history: it begins with the cluster or with a restore."""

    parent: int | None = None
    branch: int = 0
    """The line has the moments of its parent up to this number."""
    timeline: int = 0
    """The last one that was seen on it."""


@dataclass(frozen=True)
class Seen:
    """What a check saw: the log of all clients, then each row of the table with its count."""

    before: float
    """When the table was read at the earliest."""
    present: Mapping[Key, int]
    timeline: int
    appends: Sequence[Append]


@dataclass(frozen=True)
class Noted:
    """A moment as a client notes it: between these two times."""

    options: tuple[str, ...]
    before: float
    after: float


@dataclass
class Model:
    """The rows of one cluster through its life."""

    kept: frozenset[Key] = frozenset()
    """The rows at the last check; all replicas had them."""
    since: float = 0.0
    """When the table was read at the last check."""
    lines: list[Line] = field(default_factory=lambda: [Line()])
    moments: list[Moment] = field(default_factory=list)
    lost: int = 0
    """Confirmed rows that asynchronous replication has lost."""

    # --- after a step ---

    def check(self, seen: Seen, loss: Loss = Loss.NONE) -> list[str]:
        """Return what is wrong after a step that may cost `loss`, and remember what is there."""
        recent = [a for a in seen.appends if a.end >= self.since - LATE]
        done = [a for a in recent if a.acknowledged and self.since <= a.end < seen.before]
        found = [_rows("rows lost that all replicas had", self.kept - seen.present.keys())]
        lost = [a for a in done if not seen.present.get(a.key)]
        if loss is Loss.NONE:
            found.append(_rows("confirmed rows lost", (a.key for a in lost)))
        else:
            bad = History(done, seen.present).unexplained
            found.append(_rows("confirmed rows lost before others that survived", (a.key for a in bad)))
            self.lost += len(lost)
        allowed = self.kept | {a.key for a in recent if a.end >= self.since or not a.acknowledged}
        found.append(_rows("rows that had gone and are back, or were never tried", _extra(seen, allowed)))
        return self._learn(seen, found)

    def restored(self, seen: Seen, moment: Moment, began: float) -> list[str]:
        """Return what is wrong after a restore to a moment that began then, and remember what is there."""
        former = self.lines[-1].timeline
        new = {a.key for a in seen.appends if a.acknowledged and a.timeline > former}
        due = {a.key for a in seen.appends if a.key in new and a.end < seen.before}
        unknown = {a.key for a in seen.appends if not a.acknowledged and a.end >= began}
        found = [
            "" if seen.timeline > former else f"timeline {seen.timeline} follows timeline {former}",
            _rows("rows of the target are missing", moment.must - seen.present.keys()),
            _rows("rows confirmed after the restore are missing", due - seen.present.keys()),
            _rows("rows are from behind the target", _extra(seen, moment.may | new | unknown)),
        ]
        self.branch(moment.line, moment.number)
        return self._learn(seen, found)

    def branch(self, line: int, number: int) -> None:
        """Begin a line after a moment of an earlier one."""
        self.lines.append(Line(line, number))

    def branch_at_the_end(self) -> None:
        """Begin a line at the end of the present one: a restore to the end of the archive."""
        self.branch(len(self.lines) - 1, self._last)

    def _learn(self, seen: Seen, found: Iterable[str]) -> list[str]:
        doubles = [key for key, count in seen.present.items() if count > 1]
        reigns = History([a for a in seen.appends if a.timeline], {}).double_primaries()
        self.kept, self.since = frozenset(seen.present), seen.before
        self.lines[-1].timeline = seen.timeline
        return [text for text in (*found, _rows("rows exist more than once", doubles), *reigns) if text]

    # --- targets ---

    @property
    def _last(self) -> int:
        return self.moments[-1].number if self.moments else 0

    def note(self, noted: Noted, seen: Seen, former: frozenset[Key]) -> Moment:
        """Remember a moment before the check that has just been made; `former` is `kept` before that."""
        done = {a.key for a in seen.appends if a.acknowledged and a.end < noted.before} | former
        begun = {a.key for a in seen.appends if a.start <= noted.after}
        later = {a.key for a in seen.appends} - begun
        present = frozenset(seen.present)
        line = len(self.lines) - 1
        moment = Moment(self._last + 1, line, noted.options, present & done, present - later)
        self.moments.append(moment)
        return moment

    def leads_to(self, moment: Moment) -> bool:
        """Return whether the present line contains a moment, so that no timeline has to be named."""
        number, line = self._last, len(self.lines) - 1
        while line != moment.line:
            here = self.lines[line]
            if here.parent is None:
                return False
            number, line = min(number, here.branch), here.parent
        return moment.number <= number

    def timeline_of(self, moment: Moment) -> int:
        """Return the last timeline of a moment's line."""
        return self.lines[moment.line].timeline


def missing_on(replica: Iterable[Key], primary: Iterable[Key]) -> str:
    """Return which rows of the primary a replica lacks."""
    return _rows("rows are not on the replica", set(primary) - set(replica))


def _extra(seen: Seen, allowed: Iterable[Key]) -> set[Key]:
    """Return the rows that nothing allows; a worker's next row may be on its way and not in the log yet."""
    last: Counter[str] = Counter()
    for a in seen.appends:
        last[a.worker] = max(last[a.worker], a.number)
    extra = seen.present.keys() - set(allowed)
    return {(worker, number) for worker, number in extra if number != last[worker] + 1}


def _rows(what: str, keys: Iterable[Key]) -> str:
    found = [f"{worker}/{number}" for worker, number in sorted(keys)]
    shown = found if len(found) <= 4 else [*found[:2], "...", *found[-2:]]
    return f"{what}: {len(found)}, {', '.join(shown)}" if found else ""
