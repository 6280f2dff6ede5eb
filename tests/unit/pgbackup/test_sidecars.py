"""A container of another party in the pod of a backup does not hold what follows the backup."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from pgoperator.api.pgbackup import PGBackup
from pgoperator.kube.manifest import Manifest
from pgoperator.runtime.result import Wait
from reconcilers.jobs import JobStatus
from reconcilers.pgbackup import act_retention, controller
from tests.support.views import NAMESPACE, NOW, filled_store


@pytest.mark.parametrize(
    ("seconds", "succeeded", "ends"),
    [(0, True, False), (59, True, False), (61, True, True), (61, False, False)],
)
def test_a_pod_that_goes_on_is_ended_after_a_minute(
    monkeypatch: pytest.MonkeyPatch, seconds: int, succeeded: bool, ends: bool
) -> None:
    synced: list[str] = []
    deleted: list[str] = []

    async def sync(_ctx: Any, _backup: PGBackup, text: str) -> None:
        synced.append(text)

    async def delete(_kind: Any, _namespace: str, name: str, **_: Any) -> None:
        deleted.append(name)

    monkeypatch.setattr(act_retention, "sync", sync)
    manifest: Manifest = {
        "apiVersion": "pgv2.percona.com/v2",
        "kind": "PerconaPGBackup",
        "metadata": {"name": "b", "namespace": NAMESPACE, "uid": "u"},
        "spec": {"pgCluster": "cluster1", "repoName": "repo1"},
        "status": {"state": "Succeeded", "completed": NOW.isoformat()},
    }
    now = NOW + timedelta(seconds=seconds)
    ctx: Any = SimpleNamespace(
        client=SimpleNamespace(delete=delete), store=filled_store([]), clock=lambda: now
    )
    job = JobStatus("j", uid="job", succeeded=succeeded, failed=not succeeded, report="{}", idle_since=NOW)
    seen: Any = SimpleNamespace(
        job=job, job_uid="job", namespace=NAMESPACE, has_active_pods=True, cluster=None
    )
    result = asyncio.run(controller._finish(ctx, PGBackup.parse(manifest), seen))
    assert isinstance(result, Wait)
    assert (synced, deleted) == ((["{}"], ["j"]) if ends else ([], []))
    assert 1 <= result.seconds <= 60
