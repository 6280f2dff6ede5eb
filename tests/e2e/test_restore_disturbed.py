"""Restores that are disturbed: by another one, by their deletion, by the operator's death, by a failure."""

from collections.abc import Callable

import pytest

from tests.support.clients import Client
from tests.support.clusters import Cluster, example
from tests.support.operators import Operator
from tests.support.restores import ENDED, RESTORES, Restore, backup, count, serves, with_backup


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster], client: Client) -> Cluster:
    made = with_backup(new_cluster(example("disturbed", instances=3, poolers=1)), client)
    uri = made.credentials()["pgbouncer-uri"]
    client.sql(uri, "INSERT INTO kept SELECT generate_series(1, 1000)")
    return made


def test_one_of_two_at_once_is_refused(cluster: Cluster, client: Client) -> None:
    label, rows = backup(cluster, "sound", "--type=full"), count(cluster, client)
    one = Restore(cluster, "one", ("--type=immediate", f"--set={label}")).apply()
    one.wait_phase("Checking", "Stopping", "Restoring")
    two = Restore(cluster, "two", ("--type=immediate", f"--set={label}")).apply()
    assert "is under way" in two.wait("Failed", 15)["error"]
    one.wait("Succeeded")
    serves(cluster, client, rows)


@pytest.mark.parametrize("phase", ["Stopping", "Restoring", "Promoting"])
def test_deletion_half_way_brings_the_cluster_back(cluster: Cluster, client: Client, phase: str) -> None:
    rows = count(cluster, client)
    restore = Restore(cluster, f"dropped-{phase.lower()}").apply()
    restore.wait_phase(phase)
    restore.delete(120)
    assert cluster.kubectl.find(RESTORES, restore.name) is None
    serves(cluster, client, rows)


@pytest.mark.parametrize("phase", ["Checking", "Stopping", "Restoring", "Promoting", "Replicas"])
def test_the_operator_may_die_at_every_step(
    cluster: Cluster, client: Client, operator: Operator, phase: str
) -> None:
    rows = count(cluster, client)
    restore = Restore(cluster, f"killed-{phase.lower()}").apply()
    restore.wait_phase(phase)
    operator.kill()
    restore.wait("Succeeded", 240)
    serves(cluster, client, rows)


def test_a_failed_restore_can_be_followed_by_a_good_one(cluster: Cluster, client: Client) -> None:
    rows = count(cluster, client)
    failed = Restore(cluster, "beyond", ("--type=lsn", "--target=FF/0")).apply().wait("Failed")
    assert "recovery ended before configured recovery target was reached" in failed["error"]
    restore = Restore(cluster, "after-all").apply()
    restore.wait("Succeeded")
    assert restore.status()["state"] in ENDED
    serves(cluster, client, rows)
