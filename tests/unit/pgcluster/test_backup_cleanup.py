"""What the finalizer `percona.com/delete-backups` does when a cluster is deleted."""

from types import SimpleNamespace
from typing import Any

import pytest

from pgoperator import labels
from pgoperator.api.cluster import PGCluster
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest
from pgoperator.settings import Settings
from reconcilers.pgcluster.lifecycle import act_backup_cleanup
from tests.support.views import CLAIM, IMAGES, NOW, cluster_manifest, filled_store
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


@pytest.mark.parametrize(("size", "repos", "seconds"), [("1Gi", 1, 180), ("1Gi", 2, 360), ("1Ti", 2, 131072)])
async def test_the_deadline_of_the_removal_grows_with_the_data(size: str, repos: int, seconds: int) -> None:
    made: list[Manifest] = []

    async def create(manifest: Manifest) -> Manifest:
        made.append(manifest)
        return manifest

    claim = CLAIM | {"resources": {"requests": {"storage": size}}}
    pgbackrest = {
        "repos": [{"name": f"repo{n + 1}", "volume": {"volumeClaimSpec": CLAIM}} for n in range(repos)]
    }
    manifest = cluster_manifest(
        instances=[{"name": "s", "dataVolumeClaimSpec": claim}], backups={"pgbackrest": pgbackrest}
    )
    client = SimpleNamespace(create=create)
    settings = Settings(images=IMAGES)
    ctx: Any = SimpleNamespace(
        store=filled_store([manifest]), client=client, settings=settings, clock=lambda: NOW
    )
    await act_backup_cleanup.delete_backups(ctx, PGCluster.parse(manifest))
    [job] = made
    assert job["spec"]["activeDeadlineSeconds"] == seconds
