"""A cluster that is paused or set unmanaged during a restore: the restore ends first."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.clients import Client
from tests.support.clusters import Cluster
from tests.support.kubectl import until
from tests.support.restores import Restore, add, cluster_with_rows, count, serves

HOPELESS = ("--type=lsn", "--target=FF/0")


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster], client: Client) -> Cluster:
    return cluster_with_rows(new_cluster, client, "alone", instances=2)


@pytest.fixture
def managed(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, neither paused nor unmanaged afterwards."""
    yield cluster
    cluster.change(lambda spec: spec.update(pause=False, unmanaged=False))
    cluster.wait_ready()


@pytest.mark.parametrize(
    ("phase", "options"),
    [("Stopping", ()), ("Stopping", HOPELESS), ("Promoting", ())],
    ids=["good", "hopeless", "late"],
)
def test_left_alone_afterwards(
    managed: Cluster, client: Client, phase: str, options: tuple[str, ...]
) -> None:
    add(managed, client, 3)
    rows = count(managed, client)
    restore = Restore(managed, f"alone-{phase.lower()}-{len(options)}", options).apply()
    restore.wait_phase(phase)
    managed.change(lambda spec: spec.update(unmanaged=True))
    restore.wait("Failed" if options else "Succeeded")

    def alone() -> bool:
        return managed.condition("Progressing").get("reason") == "Paused"

    until("the cluster is left alone", alone, 60, managed.explain)
    until("the primary accepts queries", lambda: count(managed, client) == rows, 60, managed.explain)


@pytest.mark.parametrize(
    "options",
    [pytest.param((), id="good"), pytest.param(HOPELESS, id="hopeless", marks=pytest.mark.long)],
)
def test_paused_afterwards(managed: Cluster, client: Client, options: tuple[str, ...]) -> None:
    add(managed, client, 3)
    rows = count(managed, client)
    restore = Restore(managed, f"paused-{len(options)}", options).apply()
    restore.wait_phase("Stopping")
    managed.change(lambda spec: spec.update(pause=True))
    restore.wait("Failed" if options else "Succeeded")

    def stopped() -> bool:
        return managed.condition("Progressing").get("reason") == "Paused"

    until("the cluster is paused", stopped, 120, managed.explain)
    assert not managed.instances()
    managed.change(lambda spec: spec.update(pause=False))
    serves(managed, client, rows)
