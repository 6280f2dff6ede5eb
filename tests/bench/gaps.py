"""The longest gap without an acknowledged write for a client through pgBouncer, for each fault."""

import time
from collections.abc import Callable, Iterator
from itertools import groupby

from tests.bench import baseline
from tests.bench.phases import Phases
from tests.bench.place import Place, Stage
from tests.bench.table import Row, emit, seconds
from tests.support import faults
from tests.support.clusters import Cluster
from tests.support.workload import Report, Writer

STRIKES: dict[str, Callable[[Cluster], None]] = {
    "pod deleted gracefully": faults.delete_pod,
    "pod deleted by force": faults.delete_pod_by_force,
    "main process killed -9": faults.kill_main_process,
}
CUT = "node cut off"
Blow = Callable[[Place, Cluster], tuple[float, Report]]
"""Injects a fault into the primary; returns the longest gap and the writer's report."""


def strikes(stage: Stage, rows: list[Row], what: str, runs: int) -> None:
    """Inject an instantaneous fault into the primary `runs` times."""
    _repeat(stage, rows, what, runs, lambda place, cluster: _strike(place, cluster, STRIKES[what]))


def cuts(stage: Stage, rows: list[Row], runs: int) -> None:
    """Disconnect the primary's node `runs` times, each until another primary accepts writes."""
    _repeat(stage, rows, CUT, runs, _cut)


def _repeat(stage: Stage, rows: list[Row], what: str, runs: int, blow: Blow) -> None:
    place, cluster = stage.place(), stage.cluster()
    gaps: list[float] = []
    lost: list[int] = []
    try:
        for number in range(runs):
            gap, report = blow(place, cluster)
            gaps.append(gap)
            lost.append(len(report.lost))
            emit(f"run {number + 1}: {gap:.2f} s, {lost[-1]} of {len(report.acknowledged)} rows lost")
    finally:
        if gaps:
            name = f"longest time without a write, {what}, s"
            rows.append((name, seconds(gaps), baseline.GOALS[what], baseline.GAPS[what]))
            rows.append(("… acknowledged rows lost", ", ".join(map(str, lost)), "", "not measured"))


def _strike(place: Place, cluster: Cluster, strike: Callable[[Cluster], None]) -> tuple[float, Report]:
    cluster.wait_ready(180)
    _freshen(cluster)
    with Phases(cluster) as phases, Writer(place.client(), cluster, "bench") as writer:
        time.sleep(2)
        since = time.monotonic()
        strike(cluster)
        time.sleep(1)
        writer.wait_for_writes(since + 1, 120)
        # Include the recovery: a returning old primary must not interrupt anything.
        cluster.wait_ready(120)
        report = writer.report()
    _print_phases(phases, report, since)
    return report.gap(since), report


def _freshen(cluster: Cluster) -> None:
    """Ensure a primary whose container was never restarted: kubelet delays a second restart by 10 s."""
    primary = cluster.primary()
    if any(status["restartCount"] for status in primary["status"]["containerStatuses"]):
        cluster.kubectl.run("delete", "pod", primary["metadata"]["name"])
        cluster.wait_ready(180)
        _freshen(cluster)


def _cut(place: Place, cluster: Cluster) -> tuple[float, Report]:
    cluster.wait_ready(180)
    primary = cluster.primary()["spec"]["nodeName"]
    client = place.client(next(node for node in place.nodes if node != primary))
    with Phases(cluster) as phases, Writer(client, cluster, "bench") as writer:
        time.sleep(2)
        since = time.monotonic()
        with faults.node_cut_off(cluster):
            writer.wait_for_writes(since + 5, 150)
        cluster.wait_ready(180)
        report = writer.report()
    _print_phases(phases, report, since)
    return report.gap(since), report


def _print_phases(phases: Phases, report: Report, since: float) -> None:
    begin, end = report.longest(since)
    entries = [*phases.between(since, end + 1), *_attempts(report, since), (begin, "last write")]
    for at, what in sorted([*entries, (end, "next write")]):
        emit(f"    {at - since:6.2f}  {what}")


def _attempts(report: Report, since: float) -> Iterator[tuple[float, str]]:
    """Yield the failed attempts, grouped by error: start, count and end of each group."""
    failed = [a for a in report.failed if a.end > since]
    for text, group in groupby(failed, key=lambda attempt: attempt.result[:90]):
        alike = list(group)
        yield alike[0].start, f"{len(alike)} failed until {alike[-1].end - since:.2f}: {text}"
