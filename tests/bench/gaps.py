"""The longest time without an acknowledged write, seen by a client through pgBouncer, for each fault."""

import time
from collections.abc import Callable, Sequence

from tests.bench import baseline
from tests.bench.place import Place
from tests.bench.table import say, seconds, table
from tests.support import faults
from tests.support.clusters import Cluster
from tests.support.workload import Writer

STRIKES: dict[str, Callable[[Cluster], None]] = {
    "pod deleted gracefully": faults.delete_pod,
    "pod deleted by force": faults.delete_pod_by_force,
    "main process killed -9": faults.kill_main_process,
}
CUT = "node cut off"


def gaps(place: Place, runs: int, kinds: Sequence[str] = (*STRIKES, CUT)) -> None:
    """Strike so often in each way; print every gap and every lost row."""
    cluster = place.cluster()
    results: dict[str, list[tuple[float, int, int]]] = {}
    for what in kinds:
        results[what] = []
        for number in range(runs):
            gap, lost, total = _cut(place, cluster) if what == CUT else _strike(place, cluster, what)
            results[what].append((gap, lost, total))
            say(f"{what}, run {number + 1}: {gap:.2f} s, {lost} of {total} acknowledged rows lost")
    rows = []
    for what, found in results.items():
        ours = seconds([gap for gap, _, _ in found])
        missing = ", ".join(str(lost) for _, lost, _ in found)
        rows.append((what, ours, missing, baseline.GOALS[what], baseline.GAPS[what]))
    rows.append(("CloudNativePG 1.30, no pooler", "", "", "", baseline.CNPG_GAPS))
    head = ("what happens to the primary", "seconds, each run", "rows lost", "goal", "the original")
    table("Longest time without an acknowledged write", head, rows)


def _strike(place: Place, cluster: Cluster, what: str) -> tuple[float, int, int]:
    cluster.wait_ready(180)
    _freshen(cluster)
    with Writer(place.client(), cluster, "bench") as writer:
        time.sleep(2)
        since = time.monotonic()
        STRIKES[what](cluster)
        time.sleep(1)
        writer.wait_for_writes(since + 1, 120)
        # Also what comes after: an old primary that returns must not interrupt anything.
        cluster.wait_ready(120)
        report = writer.report()
    say(f"    errors: {report.errors()}")
    return report.gap(since), len(report.lost), len(report.acknowledged)


def _freshen(cluster: Cluster) -> None:
    """Have a primary whose container was never restarted: kubelet delays a second restart by 10 s."""
    primary = cluster.primary()
    if any(status["restartCount"] for status in primary["status"]["containerStatuses"]):
        cluster.kubectl.run("delete", "pod", primary["metadata"]["name"])
        cluster.wait_ready(180)
        _freshen(cluster)


def _cut(place: Place, cluster: Cluster) -> tuple[float, int, int]:
    cluster.wait_ready(180)
    primary = cluster.primary()["spec"]["nodeName"]
    client = place.client(next(node for node in place.nodes if node != primary))
    with Writer(client, cluster, "bench") as writer:
        time.sleep(2)
        since = time.monotonic()
        with faults.node_cut_off(cluster):
            writer.wait_for_writes(since + 5, 150)
        cluster.wait_ready(180)
        report = writer.report()
    say(f"    errors: {report.errors()}")
    return report.gap(since), len(report.lost), len(report.acknowledged)
