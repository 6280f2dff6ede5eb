"""The text of a plan, and its digest. Pure."""

from collections import Counter
from dataclasses import asdict

from pgoperator.kube.compare import digest
from reconcilers.pgcluster.takeover.plan import Action, Entry, Plan

DIGEST = 12
WORDS: dict[Action, str] = {
    "adopt": "gets this operator as its owner",
    "keep": "stays as it is",
    "change": "has no owner and changes",
    "create": "is new",
    "remove": "belongs to Percona's operator and goes",
    "leave": "is not touched",
}
NOT_EXAMINED = (
    "programs in the running images (bash, psql, patroni, pgbackrest, curl)",
    "whether WAL is archived at this moment",
    "Percona's operator in another namespace",
)
"""What a plan cannot see, for the person who reads it."""


def identity(plan: Plan) -> str:
    """Digest of the plan: the same while a takeover would do the same."""
    return digest(asdict(plan))[:DIGEST]


def text(plan: Plan) -> str:
    """The plan for a terminal."""
    counts = Counter(entry.action for entry in plan.entries)
    summary = ", ".join(f"{counts[action]} {action}" for action in WORDS if counts[action])
    lines = [
        f"plan {identity(plan)} for PerconaPGCluster {plan.namespace}/{plan.name}",
        f"  owner now {plan.owner}; crVersion {plan.cr_version or 'not set'}",
        f"  objects   {len(plan.entries)}: {summary}" + ("" if plan.complete else " (not all: see below)"),
    ]
    for action, meaning in WORDS.items():
        chosen = [entry for entry in plan.entries if entry.action == action]
        lines += _section(f"{action}: {meaning}", [_line(entry) for entry in chosen])
    lines += _section("restart: once each, in this order", list(plan.restarts))
    lines += _section("different afterwards", list(plan.differences))
    lines += _section("not examined", list(NOT_EXAMINED))
    lines += _section("blocked by", [f"{one.cause}\n    -> {one.next_step}" for one in plan.blockers])
    number = len(plan.blockers)
    verdict = f"{number} blocker{'s' if number > 1 else ''}" if number else "nothing blocks a takeover"
    lines += ["", verdict]
    lines += ["This version plans a takeover and cannot carry it out. Nothing was written."]
    return "\n".join(lines) + "\n"


def _section(title: str, lines: list[str]) -> list[str]:
    return ["", title, *(f"  {line}" for line in lines)] if lines else []


def _line(entry: Entry) -> str:
    changes = f": {', '.join(entry.changes)}" if entry.changes else ""
    return f"{entry.kind} {entry.name}{changes}"
