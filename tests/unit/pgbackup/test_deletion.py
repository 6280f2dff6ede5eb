"""What the deletion of a PerconaPGBackup removes, and which backups build on it."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from pgoperator import labels
from pgoperator.api.pgbackup import PGBackup
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import Manifest
from pgoperator.settings import Settings
from reconcilers.pgbackup import act_deletion
from tests.support.views import IMAGES, NAMESPACE, NOW, filled_store, view
from tests.unit.pgcluster.observed import repo_host_pod

FULL = "20261121-084407F"
FIRST, SECOND, THIRD = (f"{FULL}_20261121-{hour}0000I" for hour in ("09", "10", "13"))
DIFFERENTIAL, NEXT = f"{FULL}_20261121-120000D", f"{FULL}_20261121-150000D"
OTHER, OTHERS = "20261122-084407F", "20261122-084407F_20261122-090000I"
ALL = [NEXT, THIRD, OTHERS, DIFFERENTIAL, FULL, SECOND, OTHER, FIRST]


@pytest.mark.parametrize(
    ("label", "found"),
    [
        (FULL, [FIRST, SECOND, DIFFERENTIAL, THIRD, NEXT]),
        (FIRST, [SECOND]),
        (SECOND, []),
        (DIFFERENTIAL, [THIRD]),
        (THIRD, []),
        (NEXT, []),
        (OTHER, [OTHERS]),
        (OTHERS, []),
    ],
)
def test_incremental_backups_build_on_those_before_them(label: str, found: list[str]) -> None:
    assert act_deletion.building_on(label, ALL) == found


class Server:
    """It keeps the Jobs that are created, the finalizers that are written, and the events."""

    def __init__(self) -> None:
        self.created: list[str] = []
        self.finalizers: list[list[str]] = []
        self.events: list[tuple[str, str, str]] = []

    async def create(self, manifest: Manifest) -> None:
        self.created.append(manifest["kind"])

    async def get(self, kind: Any, namespace: str, name: str) -> Manifest:
        raise NotFound(404, "NotFound", "no", kind.kind, namespace, name)

    async def merge_patch(self, _kind: Any, _namespace: str, _name: str, patch: Manifest) -> None:
        self.finalizers.append(patch["metadata"]["finalizers"])

    def event(self, regarding: Manifest, **event: str) -> None:
        self.events.append((regarding["kind"], event["type"], event["reason"]))


def delete(**annotations: str) -> Server:
    """The first step of the deletion of a backup on which nothing depends."""
    server = Server()
    manifest = {
        "apiVersion": "pgv2.percona.com/v2",
        "kind": "PerconaPGBackup",
        "metadata": {
            "name": "b",
            "namespace": NAMESPACE,
            "uid": "u",
            "finalizers": [labels.FINALIZER_BACKUP],
            "annotations": annotations,
        },
        "spec": {"pgCluster": "cluster1", "repoName": "repo1"},
        "status": {"state": "Succeeded", "backupName": FULL},
    }
    one = view([repo_host_pod()])
    ctx: Any = SimpleNamespace(
        client=server,
        store=filled_store([manifest]),
        events=server,
        settings=Settings(images=IMAGES),
        clock=lambda: NOW,
    )
    backup = PGBackup.parse(manifest)
    snapshot: Any = SimpleNamespace(
        job=None, has_active_pods=False, invalid="", cluster=one.cluster, view=one
    )
    asyncio.run(act_deletion.delete(ctx, backup, manifest, snapshot))
    return server


@pytest.mark.parametrize("value", [None, "false", ""])
def test_the_backup_outlives_its_object(value: str | None) -> None:
    server = delete(**({} if value is None else {labels.DELETE_FROM_REPOSITORY: value}))
    assert "Job" not in server.created
    assert server.finalizers == [[]]
    assert {(kind, reason) for _, kind, reason in server.events} == {("Normal", "BackupKept")}


def test_the_user_may_ask_for_its_removal() -> None:
    server = delete(**{labels.DELETE_FROM_REPOSITORY: "true"})
    assert "Job" in server.created
    assert server.finalizers == []
    assert server.events == []
