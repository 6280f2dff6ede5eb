"""A restore in place of the empty cluster of three instances: how long each phase takes."""

from itertools import pairwise

from tests.bench.place import Place
from tests.bench.table import say, seconds, table
from tests.support.clusters import Cluster
from tests.support.kubectl import Event, Watch, until
from tests.support.restores import Restore, first_backup

STEPS = ("Checking", "Stopping", "Restoring", "Promoting", "Replicas", "Succeeded")
TARGETS = {"Replicas": 15, "Succeeded": 20}
ORIGINAL = 30
"""Seconds until the original has its restore done (`testbed/README.md`)."""


def restore(place: Place, runs: int) -> list[dict[str, float]]:
    """Restore so often to the end of the archive; print when each phase began."""
    cluster = place.cluster()
    first_backup(cluster)
    done = []
    for number in range(runs):
        done.append(_run(place, cluster, number))
        found = done[-1]
        say(
            f"run {number + 1}: writes accepted after {found['Replicas']:.1f} s, "
            f"every instance serves after {found['Succeeded']:.1f} s"
        )
    _print(done)
    return done


def _run(place: Place, cluster: Cluster, number: int) -> dict[str, float]:
    path = f"/apis/pgv2.percona.com/v2/namespaces/{place.kubectl.namespace}/perconapgrestores"
    name = f"bench-{number}"
    # The one before has a backup taken after it, which the next restore would wait for.
    rested = lambda: cluster.condition("ReadyForBackup").get("status") == "True"  # noqa: E731
    until("no backup is under way", rested, 120, cluster.explain)
    with Watch(place.kubectl, path) as watch:
        Restore(cluster, name).apply().wait("Succeeded", 300)
        cluster.wait_ready()
        own = [e for e in watch.events if e.object["metadata"]["name"] == name]
    begin = min(e.at for e in own)
    return {step: min(e.at for e in own if _is_at(e, step)) - begin for step in STEPS}


def _is_at(event: Event, step: str) -> bool:
    status = event.object.get("status", {})
    return step in (status.get("phase"), status.get("state"))


def _print(done: list[dict[str, float]]) -> None:
    rows = [
        (
            step,
            seconds([run[step] for run in done]),
            seconds([run[step] - run[former] for run in done]),
            f"at most {TARGETS[step]}" if step in TARGETS else "",
        )
        for former, step in pairwise(STEPS)
    ]
    head = ("phase begins", "seconds after the object", "seconds since the phase before", "wanted")
    table(f"Restore in place, empty cluster of three (the original: {ORIGINAL} s)", head, rows)
