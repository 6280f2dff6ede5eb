"""A rolling change of the three instances: its duration and its effect on a client."""

import time

from tests.bench.place import Place, Stage
from tests.bench.table import Row, emit, seconds
from tests.support.clusters import Cluster
from tests.support.workload import Report, Writer

MEMORY = 100
"""Memory request of the first run in MiB; each run requests one more."""


def rolling(stage: Stage, rows: list[Row], runs: int) -> None:
    """Change the pod template `runs` times."""
    place, cluster = stage.place(), stage.cluster()
    took: list[float] = []
    gaps: list[float] = []
    failed: list[int] = []
    try:
        for number in range(runs):
            length, since, report = _run(place, cluster, f"{MEMORY + number}Mi")
            took.append(length)
            gaps.append(report.gap(since))
            failed.append(len(report.failed))
            emit(report.describe(f"run {number + 1}: {length:.1f} s, all pods replaced", since))
    finally:
        if took:
            rows.append(("rolling change of three instances, s", seconds(took), "", "not measured"))
            rows.append(("… longest time without a write, s", seconds(gaps), "", ""))
            rows.append(("… failed transactions", ", ".join(map(str, failed)), "0", ""))


def _run(place: Place, cluster: Cluster, memory: str) -> tuple[float, float, Report]:
    cluster.wait_ready(180)
    before = {str(pod["metadata"]["uid"]) for pod in cluster.instances()}
    resources = {"requests": {"memory": memory}}
    with Writer(place.client(), cluster, "rolling", 30) as writer:
        time.sleep(2)
        since = time.monotonic()
        cluster.change(lambda spec: spec["instances"][0].update(resources=resources))
        cluster.wait_ready(300)
        length = time.monotonic() - since
        writer.wait_for_writes(time.monotonic(), 60)
        report = writer.report()
    same = before & {str(pod["metadata"]["uid"]) for pod in cluster.instances()}
    assert not same, f"{len(same)} pods were not replaced"
    return length, since, report
