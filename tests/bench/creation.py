"""From `kubectl apply` to ready: the total time, its phases, and the API requests."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from local import cluster as kubernetes
from pgoperator import labels
from tests.bench import baseline
from tests.bench.place import Place, Stage
from tests.bench.table import Row, emit, seconds, table
from tests.support.audit import AuditLog, Entry, by_verb, by_what
from tests.support.clusters import Cluster, example
from tests.support.kubectl import Event, Manifest, Watch, condition, is_ready, until

PHASES = (
    "operator noticed",
    "objects created",
    "volumes bound",
    "pods scheduled",
    "database containers started",
    "primary labelled",
    "replicas streaming",
    "repository host ready",
    "pgBouncer ready",
    "ready",
)


@dataclass
class Run:
    """One creation, with phases in seconds from the apply."""

    phases: dict[str, float] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)


def creation(stage: Stage, rows: list[Row], runs: int) -> None:
    """Create and delete the example `runs` times; print phases and requests."""
    done: list[Run] = []
    try:
        for number in range(runs):
            done.append(_run(stage.place()))
            ready = done[-1].phases.get("ready", float("nan"))
            emit(f"run {number + 1}: {ready:.1f} s, {by_verb(done[-1].entries)} requests of the operator")
    finally:
        if done:
            rows += _print(done)


def _run(place: Place) -> Run:
    cluster = Cluster(place.kubectl, example(), place.operator)
    cluster.manifest["metadata"]["finalizers"] = ["percona.com/delete-pvc", "percona.com/delete-ssl"]
    namespace, user = place.kubectl.namespace, place.operator.user
    audit = AuditLog(kubernetes.SERVER.audit_log)
    clusters = f"/apis/pgv2.percona.com/v2/namespaces/{namespace}/perconapgclusters"
    with (
        Watch(place.kubectl, f"/api/v1/namespaces/{namespace}/pods") as pods,
        Watch(place.kubectl, f"/api/v1/namespaces/{namespace}/persistentvolumeclaims") as claims,
        Watch(place.kubectl, clusters) as crs,
    ):
        time.sleep(1)
        cluster.apply()
        until("ready", lambda: _time(crs, _is_ready), 240, cluster.explain, 0.5)
        time.sleep(1)
    everything = audit.entries()
    applied = next(
        e.at for e in everything if e.resource == "perconapgclusters" and e.user != user and e.is_write
    )
    entries = [e for e in everything if e.user == user and applied <= e.at <= (_time(crs, _is_ready) or 0)]
    run = Run(_phases(applied, entries, pods, claims, crs), entries)
    place.kubectl.run("delete", "perconapgclusters", cluster.name, "--timeout=90s", seconds=100)
    until("all pods are gone", lambda: not cluster.pods(), 60, pause=1)
    return run


def _phases(
    applied: float, entries: Sequence[Entry], pods: Watch, claims: Watch, crs: Watch
) -> dict[str, float]:
    wanted = ("statefulsets", "deployments", "persistentvolumeclaims")
    created = [
        e.at for e in entries if e.resource in wanted and e.verb in ("create", "patch") and e.code == 201
    ]
    first = [e.at for e in entries]
    times: dict[str, float | None] = {
        "operator noticed": min(first, default=None),
        "objects created": max(created, default=None),
        "volumes bound": _all(claims, lambda o: o.get("status", {}).get("phase") == "Bound", 4),
        "pods scheduled": _all(pods, lambda o: condition(o, "PodScheduled").get("status") == "True", 7),
        "database containers started": _all(pods, _runs_database, 3),
        "primary labelled": _time(pods, _is_primary),
        "replicas streaming": _all(pods, _streams, 2),
        "repository host ready": _time(
            pods, lambda e: _is(e, labels.PGBACKREST_DEDICATED, "") and is_ready(e.object)
        ),
        "pgBouncer ready": _all(pods, lambda o: _label(o, labels.ROLE) == "pgbouncer" and is_ready(o), 3),
        "ready": _time(crs, _is_ready),
    }
    return {name: at - applied for name, at in times.items() if at is not None}


def _time(watch: Watch, check: Callable[[Event], bool]) -> float | None:
    return watch.first(check)


def _all(watch: Watch, check: Callable[[Manifest], bool], count: int) -> float | None:
    """Return when `check` was true for the first time for so many different objects."""
    seen: set[str] = set()
    for event in list(watch.events):
        if event.type != "DELETED" and check(event.object):
            seen.add(event.object["metadata"]["uid"])
            if len(seen) == count:
                return event.at
    return None


def _label(manifest: Manifest, key: str) -> str | None:
    value = manifest["metadata"].get("labels", {}).get(key)
    return None if value is None else str(value)


def _is(event: Event, key: str, value: str) -> bool:
    return event.type != "DELETED" and _label(event.object, key) == value


def _is_ready(event: Event) -> bool:
    return event.type != "DELETED" and event.object.get("status", {}).get("state") == "ready"


def _is_primary(event: Event) -> bool:
    return _is(event, labels.ROLE, labels.ROLE_PRIMARY)


def _runs_database(manifest: Manifest) -> bool:
    statuses = manifest.get("status", {}).get("containerStatuses", [])
    return any(s["name"] == "database" and "running" in s["state"] for s in statuses)


def _streams(manifest: Manifest) -> bool:
    """Patroni labels a replica once it runs; the annotation shows streaming one loop later."""
    return _label(manifest, labels.ROLE) == labels.ROLE_REPLICA and is_ready(manifest)


def _print(runs: Sequence[Run]) -> list[Row]:
    rows = []
    for phase in PHASES:
        values = [run.phases[phase] for run in runs if phase in run.phases]
        rows.append((phase, seconds(values) or "not seen"))
    table("Creation: seconds from the apply to", ("phase", "each run"), rows)
    ready = [run.phases["ready"] for run in runs if "ready" in run.phases]
    counts = [len(run.entries) for run in runs]
    primary = [run.phases["primary labelled"] for run in runs if "primary labelled" in run.phases]
    emit(f"\nrequests of the last run: {by_verb(runs[-1].entries)}\n{by_what(runs[-1].entries)}")
    emit(f"\nlongest pauses between the operator's requests in the last run: {_pauses(runs[-1])}")
    return [
        ("creation: apply to ready, s", seconds(ready), "at most 15 s, every run", baseline.CREATION),
        ("… first primary, s", seconds(primary), "", baseline.FIRST_PRIMARY),
        ("… API requests", ", ".join(map(str, counts)), "at most 250", baseline.CREATION_REQUESTS),
        ("… by CloudNativePG 1.30", "", "", baseline.CNPG_CREATION),
        ("… the work itself", "", "", baseline.LIMITS),
    ]


def _pauses(run: Run) -> str:
    times = [e.at for e in run.entries]
    if not times:
        return "no requests"
    start = times[0] - run.phases.get("operator noticed", 0)
    longest = sorted(((b - a, a - start) for a, b in pairwise(times)), reverse=True)[:4]
    return ", ".join(f"{length:.1f} s from {at:.1f} s on" for length, at in longest)
