"""The cost of a fault: a row of the table, and violations. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.history import History

HEAD = (
    "fault",
    "acknowledged",
    "lost",
    "failed",
    "unknown, there",
    "longest without writes",
    "double primaries",
    "remarks",
)


@dataclass(frozen=True)
class Outcome:
    """The outcome of one fault."""

    title: str
    planned: bool
    history: History | None = None
    since: float = 0.0
    aborted: int = 0
    """Clients of pgbench that lost a transaction."""
    trouble: str = ""
    """Why the fault could not be completed."""

    def problems(self, synchronous: bool) -> list[str]:
        """Return the violations as text."""
        found = [self.trouble] if self.trouble else []
        if (history := self.history) is not None:
            found += history.double_primaries()
            lost, failed = len(history.lost), len(history.failed) + self.aborted
            if lost and (synchronous or self.planned):
                found.append(f"{lost} acknowledged writes lost")
            elif history.unexplained:
                found.append(f"{len(history.unexplained)} writes lost before others that survived")
            if failed and self.planned:
                found.append(f"{failed} transactions failed: {history.errors()}")
            if history.duplicated or history.invented:
                found.append(f"{len(history.duplicated)} rows duplicated, {len(history.invented)} invented")
        return [f"{self.title}: {problem}" for problem in found]

    def row(self) -> tuple[str, ...]:
        """Return its row of the table."""
        if (history := self.history) is None:
            return (self.title, *["-"] * (len(HEAD) - 2), _first_line(self.trouble))
        return (
            self.title,
            str(len(history.acknowledged)),
            str(len(history.lost)),
            str(len(history.failed) + self.aborted),
            str(len(history.unknown)),
            f"{history.gap(self.since):.1f} s",
            str(len(history.double_primaries())),
            "; ".join(filter(None, (_first_line(self.trouble), explain(history)))),
        )


def explain(history: History) -> str:
    """Return the timelines of the lost writes."""
    parts = []
    unexplained = {a.key for a in history.unexplained}
    explained = [a for a in history.lost if a.key not in unexplained]
    for timeline, count in sorted(Counter(a.timeline for a in explained).items()):
        straight = sum(a.timeline == timeline and not a.pooled for a in explained)
        past = f", {straight} of them not through pgBouncer" if straight else ""
        parts.append(f"{count} at the end of timeline {timeline}, which no replica had received{past}")
    if unexplained:
        parts.append(f"{len(unexplained)} without an explanation")
    return "; ".join(parts)


def problems(outcomes: Sequence[Outcome], synchronous: bool) -> list[str]:
    """Return all violations."""
    return [problem for outcome in outcomes for problem in outcome.problems(synchronous)]


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
