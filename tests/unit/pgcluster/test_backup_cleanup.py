"""What the finalizer `percona.com/delete-backups` does when a cluster is deleted."""

from types import SimpleNamespace
from typing import Any

import pytest

from pgoperator import labels
from pgoperator.api.cluster import PGCluster
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.lifecycle import act_backup_cleanup
from tests.support.views import cluster_manifest, filled_store
from tests.unit.pgcluster.test_archive import backup


async def deleted(*backups: Manifest) -> tuple[list[str], list[str]]:
    """The objects that go with a cluster whose backups are disabled, and the reasons of its events."""
    manifest = cluster_manifest(backups={"enabled": False})
    kind = {"apiVersion": kinds.PG_BACKUP.api_version, "kind": kinds.PG_BACKUP.kind}
    names: list[str] = []
    reasons: list[str] = []

    async def delete(kind: object, namespace: str, name: str, **how: str) -> None:
        names.append(name)

    async def merge_patch(kind: object, namespace: str, name: str, patch: Manifest) -> None:
        pass

    ctx: Any = SimpleNamespace(
        store=filled_store([manifest, *(kind | backup for backup in backups)]),
        client=SimpleNamespace(delete=delete, merge_patch=merge_patch),
        events=SimpleNamespace(event=lambda _, **event: reasons.append(event["reason"])),
    )
    assert await act_backup_cleanup.delete_backups(ctx, PGCluster.parse(manifest)) is None
    return names, reasons


@pytest.mark.parametrize(
    ("state", "annotations", "kept"),
    [
        ("Succeeded", {}, True),
        ("Succeeded", {labels.BACKUP_EXPIRED: "true"}, False),
        ("Failed", {}, False),
    ],
)
async def test_data_without_a_known_repository_stays_with_its_object(
    state: str, annotations: dict[str, str], kept: bool
) -> None:
    names, reasons = await deleted(backup("one", state, annotations=annotations))
    assert (names, reasons) == (([], ["BackupsKept"]) if kept else (["one"], []))
