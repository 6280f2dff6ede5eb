"""An operator that dies at any step of a restore: the next one continues from that step."""

from collections.abc import Callable

import pytest

from tests.support.clients import Client
from tests.support.clusters import Cluster
from tests.support.operators import Operator
from tests.support.restores import Restore, add, cluster_with_rows, count, serves


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster], client: Client) -> Cluster:
    return cluster_with_rows(new_cluster, client, "dies", instances=2)


@pytest.mark.parametrize(
    "phase",
    [
        pytest.param("Checking", marks=pytest.mark.long),
        pytest.param("Stopping", marks=pytest.mark.long),
        "Restoring",
        "Promoting",
        pytest.param("Replicas", marks=pytest.mark.long),
    ],
)
def test_the_operator_may_die_at_every_step(
    cluster: Cluster, client: Client, operator: Operator, phase: str
) -> None:
    add(cluster, client, 3)
    rows = count(cluster, client)
    restore = Restore(cluster, f"killed-{phase.lower()}").apply()
    restore.wait_phase(phase)
    operator.kill()
    restore.wait("Succeeded", 240)
    serves(cluster, client, rows)


def test_the_operator_may_die_while_a_restore_is_given_up(
    cluster: Cluster, client: Client, operator: Operator
) -> None:
    add(cluster, client, 3)
    rows = count(cluster, client)
    restore = Restore(cluster, "killed-aborting", ("--type=lsn", "--target=FF/0")).apply()
    restore.wait_phase("Aborting", "Undoing")
    operator.kill()
    assert "before configured recovery target" in restore.wait("Failed", 240)["error"]
    serves(cluster, client, rows)
