"""Backups while the API server is down. All tests share the API server, so this module runs alone."""

import time
from collections.abc import Callable

import pytest

from pgoperator import naming
from tests.support.backups import BACKUPS, ENDED, first_backup
from tests.support.clusters import Cluster, example
from tests.support.faults import api_server_stopped
from tests.support.kubectl import Manifest, until
from tests.support.output import emit

NAME = "unserved"
# Random bytes, which pgBackRest cannot compress: some seconds of work.
ROWS = (
    "CREATE TABLE big AS SELECT md5(random()::text) || md5(random()::text) AS a FROM generate_series(1, {})"
)


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster]) -> Cluster:
    made = new_cluster(example(NAME, instances=1, poolers=1))
    made.apply()
    made.wait_ready()
    first_backup(made)
    made.psql(ROWS.format(2_000_000))
    # Patroni records the members that failsafe mode asks, and reads them again in the next loop.

    def leader() -> dict[str, str]:
        return made.kubectl.get("endpoints", naming.patroni_scope(NAME))["metadata"]["annotations"]

    until("failsafe mode knows the members", lambda: "failsafe" in leader(), 60, made.explain)
    time.sleep(20)
    return made


def backup(cluster: Cluster, name: str) -> Manifest:
    found: Manifest = cluster.kubectl.get(BACKUPS, name)
    return found


def test_a_backup_goes_on_without_the_api_server(cluster: Cluster) -> None:
    """The Job continues; when the API server returns, the operator finds its result and takes no second."""
    spec = {"pgCluster": NAME, "repoName": "repo1", "options": ["--type=full"]}
    manifest = {"apiVersion": "pgv2.percona.com/v2", "kind": "PerconaPGBackup", "metadata": {"name": "long"}}
    cluster.kubectl.apply(manifest | {"spec": spec})

    def works() -> bool:
        name = backup(cluster, "long").get("status", {}).get("jobName")
        pods = cluster.kubectl.items("pods", f"job-name={name}") if name else []
        return any(pod["status"].get("phase") == "Running" for pod in pods)

    until("its pod works", works, 60, cluster.explain, 0.05)
    with api_server_stopped():
        time.sleep(30)

    def ended() -> bool:
        return backup(cluster, "long")["status"].get("state") in ENDED

    began = time.monotonic()
    until("the backup ends", ended, 120, cluster.explain)
    emit(f"reported {time.monotonic() - began:.1f} s after the API server was back")
    status = backup(cluster, "long")["status"]
    assert status["state"] == "Succeeded", status
    uid = backup(cluster, "long")["metadata"]["uid"]
    command = ("pgbackrest", "--stanza=db", "--output=json", "info")
    text = cluster.kubectl.exec(f"{NAME}-repo-host-0", *command, container="pgbackrest")
    assert text.count(uid) == 1, "one backup came of one object"
    cluster.wait_ready()
