"""WAL and tablespace volumes: from the start, restored, and added later."""

from collections.abc import Callable

import pytest

from pgoperator import labels
from tests.support.backups import backup, first_backup
from tests.support.clusters import Cluster, example
from tests.support.kubectl import KubectlError, is_ready, until
from tests.support.restores import Restore

CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
LOG = "/pgwal/pg17_wal"


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster]) -> Cluster:
    manifest = example("volumes", instances=1, poolers=1)
    manifest["spec"]["instances"][0] |= {
        "walVolumeClaimSpec": CLAIM,
        "tablespaceVolumes": [{"name": "cold", "dataVolumeClaimSpec": CLAIM}],
    }
    made = new_cluster(manifest)
    made.apply()
    made.wait_ready()
    first_backup(made)
    return made


def log(cluster: Cluster) -> str:
    return cluster.exec(cluster.primary_name(), "readlink", "/pgdata/pg17/pg_wal").strip()


def stored(cluster: Cluster) -> str:
    return cluster.psql("SELECT count(*) FROM stored")


def renew(cluster: Cluster) -> None:
    """Delete the pod, which is recreated from the current template."""
    before = cluster.instances()[0]["metadata"]["uid"]
    cluster.kubectl.delete("pod", cluster.instances()[0]["metadata"]["name"])

    def is_new() -> bool:
        found = cluster.instances()
        return len(found) == 1 and found[0]["metadata"]["uid"] != before and is_ready(found[0])

    until("the pod is another one", is_new, 120, cluster.explain)
    cluster.wait_ready()


def test_log_and_tablespace_are_on_their_volumes_and_restored_there(cluster: Cluster) -> None:
    assert log(cluster) == LOG
    cluster.psql("CREATE TABLESPACE cold LOCATION '/tablespaces/cold/data'")
    cluster.psql("CREATE TABLE stored TABLESPACE cold AS SELECT generate_series(1, 7) n")
    label = backup(cluster, "with-a-tablespace", "--type=full")
    cluster.psql("INSERT INTO stored SELECT 8")
    Restore(cluster, "to-the-backup", ("--type=immediate", f"--set={label}")).apply().wait("Succeeded")
    cluster.wait_ready()
    assert stored(cluster) == "7"
    assert log(cluster) == LOG


def test_a_replica_has_them_too(cluster: Cluster) -> None:
    cluster.change(lambda spec: spec["instances"][0].update(replicas=2))
    cluster.wait_ready()
    [replica] = cluster.replicas()
    name = replica["metadata"]["name"]
    assert cluster.psql("SELECT count(*) FROM stored", pod=name) == "7"
    assert cluster.exec(name, "readlink", "/pgdata/pg17/pg_wal").strip() == LOG
    cluster.change(lambda spec: spec["instances"][0].update(replicas=1))
    until("the replica is gone", lambda: len(cluster.instances()) == 1, 120, cluster.explain)
    cluster.wait_ready()


def test_the_log_leaves_its_volume_before_the_volume_goes(cluster: Cluster) -> None:
    [name] = {pod["metadata"]["labels"][labels.INSTANCE] for pod in cluster.instances()}

    def mounts_and_uses() -> tuple[bool, bool]:
        template = cluster.kubectl.get("statefulset", name)["spec"]["template"]["spec"]
        variables = {one["name"] for one in template["containers"][0]["env"]}
        return any(v["name"] == "postgres-wal" for v in template["volumes"]), "WAL_DIRECTORY" in variables

    cluster.change(lambda spec: spec["instances"][0].pop("walVolumeClaimSpec"))
    until("the log is to leave", lambda: mounts_and_uses() == (True, False), 30, cluster.explain)
    renew(cluster)
    until("the volume is to go", lambda: mounts_and_uses() == (False, False), 30, cluster.explain)
    renew(cluster)
    assert stored(cluster) == "7"
    with pytest.raises(KubectlError):
        log(cluster)
    cluster.change(lambda spec: spec["instances"][0].update(walVolumeClaimSpec=CLAIM))
    until("the log is to come back", lambda: mounts_and_uses() == (True, True), 30, cluster.explain)
    renew(cluster)
    assert (
        cluster.exec(cluster.primary_name(), "readlink", "/pgdata/pg17/pg_wal").strip() == "/pgwal/pg17_wal"
    )
    assert stored(cluster) == "7"
