"""A restart or a change of the primary waits for a backup that runs, but not indefinitely."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.rollout import read_backups
from tests.support.views import NOW, filled_store, view
from tests.unit.pgcluster import observed
from tests.unit.pgcluster.test_archive import backup

PRIMARY = "cluster1-instance1-abcd"


def awaited(*backups: Manifest, ready: bool = True) -> str:
    store = filled_store([{"kind": "PerconaPGBackup", **one} for one in backups])
    ctx: Any = SimpleNamespace(store=store)
    primary = observed.instance_pod(PRIMARY, "primary", "running", ready=ready)
    wait = read_backups.awaited(ctx, view([primary, observed.leader(PRIMARY)]))
    return wait.reason if wait else ""


def test_a_backup_that_runs_is_named_with_the_end_of_the_patience() -> None:
    assert awaited(backup("done"), backup("now", "Running")) == (
        "waiting for backup now, at most until 2026-01-02T09:03:05Z"
    )


@pytest.mark.parametrize("state", ["", "Starting", "Succeeded", "Failed"])
def test_another_state_is_no_reason(state: str) -> None:
    assert awaited(backup("b", state)) == ""


def test_neither_is_a_backup_of_another_cluster() -> None:
    other = backup("b", "Running")
    other["spec"]["pgCluster"] = "cluster2"
    assert awaited(other) == ""


def test_a_backup_that_does_not_end_stops_nothing() -> None:
    assert awaited(backup("b", "Running", at=NOW - read_backups.PATIENCE)) == ""
    assert awaited(backup("b", "Running", at=NOW - read_backups.PATIENCE + timedelta(seconds=1)))


def test_a_primary_that_is_down_waits_for_nothing() -> None:
    assert awaited(backup("b", "Running"))
    assert awaited(backup("b", "Running"), ready=False) == ""
