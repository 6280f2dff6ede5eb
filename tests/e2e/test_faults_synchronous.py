"""With synchronous replication no acknowledged row is lost by any failure of the primary."""

import time
from collections.abc import Callable

import pytest

from pgoperator import labels
from tests.support import faults
from tests.support.clients import Client
from tests.support.clusters import Cluster, example
from tests.support.kubectl import Manifest, until
from tests.support.output import emit
from tests.support.workload import Writer


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster], client: Client) -> Cluster:
    manifest = example("sync", poolers=2)
    manifest["spec"].setdefault("patroni", {})["dynamicConfiguration"] = {"synchronous_mode": True}
    # The synchronous replica on the node of the primary would be lost with it, and no other may take over.
    manifest["spec"]["instances"][0]["affinity"] = apart("sync")
    made = new_cluster(manifest)
    made.apply()
    made.wait_ready()
    return made


def apart(cluster: str) -> Manifest:
    """Each instance on its own node: a node that has just come back gets no pods for some seconds."""
    term = {
        "labelSelector": {"matchLabels": {labels.CLUSTER: cluster, labels.DATA: labels.DATA_POSTGRES}},
        "topologyKey": "kubernetes.io/hostname",
    }
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


@pytest.fixture(autouse=True)
def ready_again(cluster: Cluster) -> None:
    """Every test begins with a healthy cluster and a synchronous replica."""
    cluster.wait_ready(180)
    until("a replica is synchronous", cluster.has_synchronous_replica, 60, cluster.explain)


@pytest.mark.parametrize(
    "strike",
    [
        faults.kill_postmaster,
        pytest.param(faults.kill_main_process, marks=pytest.mark.long),
        faults.delete_pod_by_force,
    ],
)
def test_no_acknowledged_row_is_lost(
    cluster: Cluster, client: Client, strike: Callable[[Cluster], None]
) -> None:
    with Writer(client, cluster, strike.__name__) as writer:
        since = time.monotonic()
        strike(cluster)
        time.sleep(1)
        writer.wait_for_writes(since + 1, 120)
        report = writer.report()
    emit(f"{report.describe(strike.__name__ + ', synchronous', since)}")
    assert len(report.acknowledged) > 20
    assert report.lost == []


def test_no_row_is_lost_with_a_node(
    cluster: Cluster, client_on: Callable[[str], Client], nodes: list[str]
) -> None:
    primary = cluster.primary()["spec"]["nodeName"]
    client = client_on(next(node for node in nodes if node != primary))
    with Writer(client, cluster, "cut") as writer:
        since = time.monotonic()
        with faults.node_cut_off(cluster):
            writer.wait_for_writes(since + 5, 150)
        cluster.wait_ready(180)
        report = writer.report()
    emit(f"{report.describe('node cut off, synchronous', since)}")
    assert report.lost == []
