"""Deletion of all backups, requested by the finalizer, for a cluster that does not run."""

from collections.abc import Callable

import pytest

from pgoperator import labels
from tests.support.backups import BACKUPS, backup, first_backup
from tests.support.clusters import Cluster, example
from tests.support.kubectl import Manifest, until
from tests.support.s3 import S3


def pause(cluster: Cluster) -> None:
    cluster.change(lambda spec: spec.update(pause=True))

    def paused() -> bool:
        return cluster.cr()["status"]["state"] == "paused"

    until("it is paused", paused, 120, cluster.explain)


def ruin(cluster: Cluster) -> None:
    """Remove a file that PostgreSQL needs to start."""
    script = "cd /pgdata/pg17; rm global/pg_control; kill -9 $(head -n 1 postmaster.pid)"
    cluster.exec(cluster.primary_name(), "bash", "-c", script)
    until("it is broken", lambda: not cluster.is_ready(), 60, cluster.explain)


@pytest.mark.parametrize("stop", [pause, ruin])
def test_every_backup_goes(
    new_cluster: Callable[..., Cluster], s3: S3, stop: Callable[[Cluster], None]
) -> None:
    manifest = example(f"to-{stop.__name__}", instances=1, poolers=0)
    s3.add_repo(manifest, "repo2", f"/{manifest['metadata']['name']}")
    manifest["metadata"]["finalizers"] = [labels.FINALIZER_DELETE_BACKUPS]
    made = new_cluster(manifest)
    made.apply()
    made.wait_ready()
    first_backup(made)
    backup(made, f"of-{made.name}", "--type=full", repo="repo2")

    def mine() -> list[str]:
        return [p for p in s3.files() if p.startswith(f"{made.name}/") and "/db/" in p]

    assert mine()
    stop(made)
    made.kubectl.delete("perconapgclusters", made.name)

    def gone() -> bool:
        return made.kubectl.find("perconapgclusters", made.name) is None

    until("the cluster is gone", gone, 240, made.explain)
    assert mine() == []
    kept = [e["message"] for e in made.kubectl.items("events") if e["reason"] == "BackupsKept"]
    assert kept == []

    def of_it() -> list[Manifest]:
        return [b for b in made.kubectl.items(BACKUPS) if b["spec"]["pgCluster"] == made.name]

    until("no object is left", lambda: not of_it(), 20)
    assert made.kubectl.find("persistentvolumeclaim", f"{made.name}-repo1")
