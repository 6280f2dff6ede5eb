"""What the status claims, compared with what a client sees. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.kubectl import Manifest, condition

WRITE_SECONDS = 15
"""A write must succeed so soon after `Ready` was seen."""
NOTICE_SECONDS = 35.0
"""A write that fails is in the status after 30 s; some more for the status itself."""


@dataclass(frozen=True)
class Claim:
    """`Ready` was seen at a time in monotonic seconds; what writes since then ended with."""

    at: float
    error: str


def lies(claims: Iterable[Claim], struck: float | None, slowness: float = 1) -> list[str]:
    """Return the claims that reality denies; a strike is noticed after NOTICE_SECONDS.

    On an overloaded machine all times are `slowness` times as long.
    """
    notice = NOTICE_SECONDS * slowness
    late = [c for c in claims if c.error and (struck is None or c.at > struck + notice)]
    if not late:
        return []
    since = "" if struck is None else f", {late[0].at - struck:.0f} s after the strike"
    return [f"Ready{since}, but a write fails for {WRITE_SECONDS * slowness:.0f} s: {late[0].error}"]


def contradictions(cluster: Manifest) -> list[str]:
    """Return where the summary of a ready cluster does not agree with itself or with the spec."""
    status, spec = cluster.get("status", {}), cluster["spec"]
    wanted = {"Ready": "True", "Progressing": "False", "Degraded": "False"}
    found = [
        f"state is ready, but {kind} is {shown.get('status')}: {shown.get('reason')}: {shown.get('message')}"
        for kind, value in wanted.items()
        if (shown := condition(cluster, kind)).get("status") != value
    ]
    size = sum(one["replicas"] for one in spec["instances"])
    for name, count in (("postgres", size), ("pgbouncer", spec["proxy"]["pgBouncer"]["replicas"])):
        shown = {key: status.get(name, {}).get(key) for key in ("size", "ready")}
        if shown != {"size": count, "ready": count}:
            found.append(f"status.{name} is {shown}, the spec has {count}")
    return found


def false_backups(backups: Iterable[Manifest], labels: set[str]) -> list[str]:
    """Return the backups that are reported as successful and that the repository does not have."""
    return [
        f"{b['metadata']['name']} is Succeeded, but the repository lacks {b['status'].get('backupName')}"
        for b in backups
        if b.get("status", {}).get("state") == "Succeeded" and b["status"].get("backupName") not in labels
    ]


def changed(before: dict[str, Any], after: dict[str, Any], what: str) -> list[str]:
    """Return what differs or is gone; what was added does not count."""
    return [
        f"{what} {name}: {value}, now {after.get(name)}"
        for name, value in before.items()
        if after.get(name) != value
    ]


def probe_kills(events: Iterable[Manifest]) -> dict[str, int]:
    """Return how often failed liveness probes have killed containers of each pod: the machine is too slow."""
    found: Counter[str] = Counter()
    for event in events:
        if event.get("reason") == "Killing" and "failed liveness probe" in event.get("message", ""):
            found[event["involvedObject"]["name"]] += event.get("count") or 1
    return dict(found)


def unexplained(found: Sequence[str], pods: Iterable[str]) -> list[str]:
    """Return the restarts of other pods than these."""
    return [text for text in found if not set(pods) & set(text.replace(":", " ").split())]


def slowest(seconds: Sequence[float]) -> str:
    """Return the longest time for a table."""
    return f"{max(seconds):.0f} s" if seconds else "-"
