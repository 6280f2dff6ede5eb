"""The backups that the operator asks for by itself."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pgoperator import labels
from pgoperator.context import Context
from pgoperator.kube.manifest import Manifest
from pgoperator.postgres import pgbackrest_options
from reconcilers.pgcluster.backups import act_backups, build_backup_status, inventory
from reconcilers.pgcluster.state.view import Restoring, View
from tests.support.views import filled_store, view
from tests.unit.pgcluster.test_archive import backup, serving


class Client:
    """It keeps what is asked of it."""

    def __init__(self) -> None:
        self.marked: list[str] = []
        self.created: list[Manifest] = []

    async def merge_patch(self, _kind: Any, _namespace: str, name: str, patch: Manifest) -> None:
        if labels.SUPERSEDED in patch["metadata"]["annotations"]:
            self.marked.append(name)

    async def create(self, manifest: Manifest) -> None:
        self.created.append(manifest)


REPO_WITH_FIRST = {
    "name": "repo1",
    "stanzaCreated": True,
    "replicaCreateBackupComplete": True,
    "repoOptionsHash": "h",
}


def act(seen: View, *manifests: Manifest) -> Client:
    """One pass over a cluster that is ready."""
    client = Client()
    ctx = cast("Context", SimpleNamespace(client=client, store=filled_store(list(manifests))))
    known = inventory.book(seen, manifests)
    asyncio.run(act_backups.act(ctx, seen, known, stanza_hash="h", ready=True))
    return client


def first(seen: View) -> Manifest:
    """The first backup, complete."""
    found = backup(
        inventory.first_name(seen, inventory.NO_BACKUPS),
        annotations={labels.BACKUP_JOB_TYPE: "replica-create"},
    )
    found["metadata"]["labels"] = {labels.CLUSTER: "cluster1"}
    return {"apiVersion": "pgv2.percona.com/v2", "kind": "PerconaPGBackup", **found}


@pytest.mark.parametrize(
    ("phase", "superseded"),
    [
        ("Checking", False),
        ("Stopping", False),
        ("Restoring", False),
        ("Aborting", False),
        ("Undoing", False),
        ("Promoting", True),
        ("Replicas", True),
    ],
)
def test_a_restore_asks_for_a_backup_once_it_has_replaced_the_data(phase: str, superseded: bool) -> None:
    seen = replace(view(), restoring=Restoring("r", phase, ""))
    client = act(seen, first(seen))
    assert bool(client.marked) is superseded
    assert client.created == []


@pytest.mark.parametrize("object_is_there", [True, False])
def test_a_restore_is_followed_by_a_backup_whatever_objects_are_left(object_is_there: bool) -> None:
    """Of a cluster that is older than its retention the first backup's object has gone."""
    repos = [REPO_WITH_FIRST]
    seen = serving({"pgbackrest": {"repos": repos}})
    objects = [first(seen)] if object_is_there else []
    assert act(seen, *objects).created == []
    for phase in ("Promoting", "Replicas"):
        restored = replace(seen, restoring=Restoring("r", phase, ""))
        client = act(restored, *objects)
        assert client.created == []
        if object_is_there:
            objects[0]["metadata"]["annotations"][labels.SUPERSEDED] = "true"
        reported = build_backup_status.status(restored, inventory.book(restored, objects), "h", [])
        assert reported is not None
        assert not reported.repos[0].replica_create_backup_complete
    assert reported is not None
    after = serving({"pgbackrest": reported.to_manifest()})
    assert len(act(after, *objects).created) == 1


def test_a_restore_that_fails_is_followed_by_no_backup() -> None:
    repos = [REPO_WITH_FIRST]
    seen = serving({"pgbackrest": {"repos": repos}})
    for phase in ("Stopping", "Restoring", "Aborting", "Undoing"):
        failing = replace(seen, restoring=Restoring("r", phase, ""))
        reported = build_backup_status.status(failing, inventory.book(failing, []), "h", [])
    assert reported is not None
    after = serving({"pgbackrest": reported.to_manifest()})
    assert act(after).created == []


def test_after_a_restore_no_backup_from_before_expires() -> None:
    seen = serving()
    old = first(seen)
    old["metadata"]["annotations"][labels.SUPERSEDED] = "true"
    (made,) = act(seen, old).created
    assert made["spec"]["options"] == ["--type=full", "--no-expire-auto"]
    assert pgbackrest_options.backup(made["spec"]["options"]) == made["spec"]["options"]
