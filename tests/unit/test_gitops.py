"""The health check for Argo CD, run by a Lua 5.1 without more than Argo CD gives it; the files for GitOps."""

from dataclasses import replace
from typing import Any

import pytest
import yaml
from lupa.lua51 import LuaRuntime, lua_type

from pgoperator import labels
from pgoperator.api import KINDS
from pgoperator.api.pgbackup import PGBackup, PGBackupStatus
from pgoperator.api.pgrestore import PGRestoreStatus
from pgoperator.api.status import PGClusterStatus
from reconcilers.pgbackup import decide_state
from reconcilers.pgcluster.state.cache import Change
from reconcilers.pgcluster.state.findings import Problem
from reconcilers.pgcluster.status import build_status as report
from reconcilers.pgcluster.status import conditions
from tests.support.documents import ROOT, read
from tests.support.views import NOW, cluster_manifest, view
from tests.unit.pgcluster.test_status import GOOD, MINUTE, PULL, World, shown

SCRIPT = (ROOT / "manifests/gitops/argocd-health.lua").read_text(encoding="utf-8")
# Argo CD opens the libraries base, package, table and a part of os, unless useOpenLibs is set.
CLOSED = ("string", "math", "io", "debug", "coroutine", "python", "dofile", "loadfile")
WORDS = {"Healthy", "Progressing", "Degraded", "Suspended"}


def health(obj: dict[str, Any]) -> tuple[str, str]:
    lua = LuaRuntime(register_eval=False)
    for name in CLOSED:
        lua.globals()[name] = None
    lua.globals().obj = lua.table_from(obj, recursive=True)
    found = lua.execute(SCRIPT)
    assert lua_type(found) == "table"
    assert set(found) == {"status", "message"}
    assert found.status in WORDS
    assert isinstance(found.message, str)
    assert found.message
    return found.status, found.message


def cluster(status: PGClusterStatus | None = None, **metadata: Any) -> dict[str, Any]:
    found = cluster_manifest()
    found["metadata"] |= metadata
    return found | ({"status": status.to_manifest()} if status is not None else {})


def paused(objects: bool) -> PGClusterStatus:
    world = World()
    seen = world.view(READY) if objects else view(status=READY.to_manifest())
    return report.status(replace(seen, paused=True), GOOD, world.memory(), [])


READY = shown(World())
LOST = shown(World(primary=None, absent=("cluster1-instance1-6pzk",)), previous=READY)
UNMANAGED = conditions.unmanaged(view(status=READY.to_manifest(), unmanaged=True).cluster, NOW)
REFUSED = conditions.refused(PGClusterStatus(), 1, Problem("InvalidName", "no such name"), NOW)
STALLED = shown(World(new=True, primary=None), previous=shown(World(new=True, primary=None)), age=11 * MINUTE)
CLUSTERS = {
    "without a status": (None, "Progressing", "waiting for the operator"),
    "new": (shown(World(new=True, primary=None)), "Progressing", "no primary accepts writes"),
    "ready": (READY, "Healthy", "all components of the cluster are ready"),
    "rolling": (
        shown(World(), replace(GOOD, change=Change(rolling="one is left")), previous=READY),
        "Progressing",
        "one is left",
    ),
    "an image that cannot be pulled": (
        shown(World(absent=("cluster1-instance1-6pzk",)), replace(GOOD, problems=(PULL,))),
        "Degraded",
        "no such image",
    ),
    "not ready any more": (LOST, "Degraded", "no primary accepts writes"),
    "without progress": (STALLED, "Degraded", "no progress for 10 minutes"),
    "stopping": (paused(objects=True), "Progressing", "spec.pause is set; waiting for pods to stop"),
    "paused": (paused(objects=False), "Suspended", "spec.pause is set"),
    "unmanaged": (UNMANAGED, "Suspended", "spec.unmanaged is set"),
    "refused": (REFUSED, "Degraded", "no such name"),
    "refused, ready before": (
        conditions.refused(READY, 1, Problem("InvalidUser", "bad options"), NOW),
        "Degraded",
        "bad options",
    ),
}


@pytest.mark.parametrize("case", CLUSTERS)
def test_a_cluster(case: str) -> None:
    status, wanted, message = CLUSTERS[case]
    found, told_ = health(cluster(status))
    assert found == wanted
    assert message in told_


@pytest.mark.parametrize("status", [READY, REFUSED, LOST, UNMANAGED])
def test_what_is_known_of_a_former_spec_does_not_count(status: PGClusterStatus) -> None:
    found, message = health(cluster(status, generation=2))
    assert found == "Progressing"
    assert "waiting for the operator" in message


def test_what_is_being_deleted_progresses() -> None:
    assert health(cluster(READY, deletionTimestamp="2026-01-02T03:04:05Z"))[0] == "Progressing"


def of_kind(kind: str, status: dict[str, Any] | None) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": kind, "metadata": {"name": "b1", "generation": 1}, "spec": {}}
    return found | ({"status": status} if status is not None else {})


def backup(**status: Any) -> PGBackup:
    metadata = {"name": "b1", "namespace": "ns1", "uid": "u", "creationTimestamp": NOW.isoformat()}
    spec = {"pgCluster": "cluster1", "repoName": "repo1"}
    return PGBackup.parse({"metadata": metadata, "spec": spec, "status": status})


STARTED = decide_state.started(backup(), NOW)
STARTING = backup(**STARTED.to_manifest())
OBSTACLE = decide_state.starting(STARTING, "the repository host is not ready", None, NOW)
BACKUPS: dict[str, tuple[PGBackupStatus | None, str, str]] = {
    "new": (None, "Progressing", "waiting for the operator"),
    "waits for another": (
        decide_state.queued(backup(), "LeaseAlreadyHeld", "waiting for b0", NOW),
        "Progressing",
        "waiting for b0",
    ),
    "started": (STARTED, "Progressing", "Starting"),
    "cannot begin": (
        decide_state.with_waiting(OBSTACLE, NOW),
        "Progressing",
        "the repository host is not ready",
    ),
    "failed": (decide_state.failed(backup(), "no space left", NOW), "Degraded", "no space left"),
    "succeeded": (PGBackupStatus(state="Succeeded"), "Healthy", "succeeded"),
}


@pytest.mark.parametrize("case", BACKUPS)
def test_a_backup(case: str) -> None:
    status, wanted, message = BACKUPS[case]
    found, told_ = health(of_kind("PerconaPGBackup", status.to_manifest() if status else None))
    assert (found, message in told_) == (wanted, True), told_


@pytest.mark.parametrize(
    ("status", "wanted", "message"),
    [
        (None, "Progressing", "waiting for the operator"),
        (PGRestoreStatus(message="waiting for backup b0"), "Progressing", "waiting for backup b0"),
        (PGRestoreStatus(state="Starting", phase="Stopping"), "Progressing", "Stopping"),
        (PGRestoreStatus(state="Running", message="pgBackRest works"), "Progressing", "pgBackRest works"),
        (
            PGRestoreStatus(state="Failed", phase="Undoing", error="no such backup"),
            "Degraded",
            "no such backup",
        ),
        (PGRestoreStatus(state="Succeeded", phase="Replicas"), "Healthy", "succeeded"),
    ],
)
def test_a_restore(status: PGRestoreStatus | None, wanted: str, message: str) -> None:
    found, told_ = health(of_kind("PerconaPGRestore", status.to_manifest() if status else None))
    assert (found, message in told_) == (wanted, True), told_


def test_an_upgrade_never_looks_healthy() -> None:
    found, message = health(of_kind("PerconaPGUpgrade", None))
    assert found == "Degraded"
    assert "not implemented" in message


def test_the_page_installs_the_check_for_every_kind() -> None:
    page = read("docs/howto/gitops.md")
    for kind in KINDS:
        assert f"resource.customizations.health.pgv2.percona.com_{kind.NAMES.kind}" in page


@pytest.mark.parametrize("name", ["argocd", "flux"])
def test_nothing_is_pruned_by_the_examples(name: str) -> None:
    """To prune a definition deletes every cluster, to prune a backup its data."""
    text = (ROOT / f"manifests/gitops/{name}.yaml").read_text(encoding="utf-8")
    for document in yaml.safe_load_all(text):
        spec = document["spec"]
        assert spec.get("syncPolicy", {}).get("automated", spec)["prune"] is False


def test_a_label_of_argo_cd_is_on_objects_of_a_cluster() -> None:
    """Why the page warns of tracking by label: the value is the cluster's name."""
    assert labels.recommended("databases")["app.kubernetes.io/instance"] == "databases"
