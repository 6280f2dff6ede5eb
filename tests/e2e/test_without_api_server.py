"""Backups while the API server is away. It is everybody's: this module runs alone."""

import time
from collections.abc import Callable

import pytest

from pgoperator import naming
from tests.support.backups import BACKUPS, ENDED, first_backup
from tests.support.clusters import Cluster, example
from tests.support.faults import api_server_stopped
from tests.support.kubectl import Manifest, until
from tests.support.tell import tell

NAME = "unserved"
# Random bytes, which pgBackRest cannot make small: some seconds of work.
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
    # Patroni writes down whom failsafe mode has to ask, and reads it again in the next round.
    leader = lambda: made.kubectl.get("endpoints", naming.patroni_scope(NAME))["metadata"]["annotations"]  # noqa: E731
    until("failsafe mode knows the members", lambda: "failsafe" in leader(), 60, made.explain)
    time.sleep(20)
    return made


def backup(cluster: Cluster, name: str) -> Manifest:
    found: Manifest = cluster.kubectl.get(BACKUPS, name)
    return found


def test_a_backup_goes_on_without_the_api_server(cluster: Cluster) -> None:
    """Its Job works on; the operator, back at the API server, finds what it left, and takes no other one."""
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
    ended = lambda: backup(cluster, "long")["status"].get("state") in ENDED  # noqa: E731
    began = time.monotonic()
    until("the backup ends", ended, 120, cluster.explain)
    tell(f"told {time.monotonic() - began:.1f} s after the API server was back")
    status = backup(cluster, "long")["status"]
    assert status["state"] == "Succeeded", status
    uid = backup(cluster, "long")["metadata"]["uid"]
    command = ("pgbackrest", "--stanza=db", "--output=json", "info")
    text = cluster.kubectl.exec(f"{NAME}-repo-host-0", *command, container="pgbackrest")
    assert text.count(uid) == 1, "one backup came of one object"
    cluster.wait_ready()
