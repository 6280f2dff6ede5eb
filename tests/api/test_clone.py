"""A new cluster reads no backups of another namespace without consent, against a real API server."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.kube import kinds
from pgoperator.kube.client import Client
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import Manifest, encoded, labels_of, name_of, owned, uid_of
from pgoperator.runtime.manager import Manager
from reconcilers import controllers
from tests.api.conftest import create_namespace, eventually
from tests.api.test_hostile import named
from tests.api.test_manager import running, settings
from tests.support.views import CLAIM, IMAGES

pytestmark = pytest.mark.api
REPO = {"name": "repo2", "s3": {"bucket": "b", "endpoint": "e", "region": "r"}}


@pytest.fixture
async def victim(client: Client, namespace: str, crds: None) -> AsyncIterator[str]:
    """The namespace of a cluster `prod` and its keys; one operator watches it and `namespace`."""
    other = f"{namespace}-victim"
    await create_namespace(client, other)
    keys = {"s3.conf": b"[global]\nrepo2-s3-key-secret=secret\n"}
    metadata = {"name": "keys", "namespace": other}
    await client.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded(keys)})
    volume = {"name": "repo1", "volume": {"volumeClaimSpec": CLAIM}}
    pgbackrest = {"configuration": [{"secret": {"name": "keys"}}], "repos": [volume, REPO]}
    await client.create(named("prod", other, backups={"pgbackrest": pgbackrest}))
    watched = replace(settings(namespace, other), images=IMAGES)
    manager = Manager(watched, client, controllers(watched), finish=0.2)
    async with running(manager):
        yield other


async def clone(client: Client, namespace: str, name: str, **source: str) -> None:
    wanted = {"clusterNamespace": f"{namespace}-victim", "repoName": "repo2"} | source
    await client.create(named(name, namespace, dataSource={"postgresCluster": wanted}))


async def failed(client: Client, namespace: str, name: str) -> str:
    """Wait until the cluster's restore has failed and the cluster reports it; return the message."""
    found: list[str] = []

    async def check() -> bool:
        status = (await client.get(kinds.PG_CLUSTER, namespace, name)).get("status") or {}
        ready = [c for c in status.get("conditions", []) if c["type"] == "Ready"]
        found[:] = [c["message"] for c in ready if c["reason"] == "BootstrapFailed"]
        return bool(found)

    await eventually(check, f"{name} is refused")
    return found[0]


async def copies(client: Client, namespace: str) -> list[str]:
    secrets, _ = await client.list(kinds.SECRET, namespace)
    return [name_of(s) for s in secrets if labels.PGBACKREST_RESTORE_CONFIG in labels_of(s)]


async def test_the_cluster_reports_the_missing_consent_and_nothing_about_the_source(
    victim: str, client: Client, namespace: str
) -> None:
    await clone(client, namespace, "c1", clusterName="prod")
    await clone(client, namespace, "c2", clusterName="none")
    texts = [await failed(client, namespace, name) for name in ("c1", "c2")]
    assert labels.ALLOW_CLONE_FROM in texts[0]
    assert texts[0].replace("c1", "c2").replace("prod", "none") == texts[1]
    assert await copies(client, namespace) == []


async def begin(client: Client, namespace: str, phase: str) -> None:
    """Write the status of c1's restore as if its check had succeeded; a changed spec wakes the operator."""
    where = kinds.PG_RESTORE, namespace, naming.bootstrap_restore("c1")
    status: Manifest = {"state": "Running", "phase": phase, "error": None, "completed": None}
    status |= {"instance": "c1-instance1-bcdf", "phaseSince": None}
    await client.merge_patch(*where, {"status": status}, subresource="status")
    await client.merge_patch(*where, {"spec": {"options": [f"--process-max={len(phase)}"]}})


async def test_a_status_of_the_author_does_not_replace_the_consent(
    victim: str, client: Client, namespace: str
) -> None:
    """The author of the restore may write its status, as if the check had succeeded."""
    await clone(client, namespace, "c1", clusterName="prod")
    await failed(client, namespace, "c1")
    where = kinds.PG_RESTORE, namespace, naming.bootstrap_restore("c1")
    for phase in ("Stopping", "Restoring"):
        await begin(client, namespace, phase)

        async def ended() -> bool:
            found: Any = (await client.get(*where))["status"]
            return found["state"] == "Failed" and labels.ALLOW_CLONE_FROM in found.get("error", "")

        await eventually(ended, "the restore fails again")
        assert await copies(client, namespace) == []
        with pytest.raises(NotFound):
            await client.get(kinds.JOB, namespace, naming.restore_job("c1"))


async def jobs(client: Client, namespace: str) -> list[str]:
    return [name_of(job) for job in (await client.list(kinds.JOB, namespace))[0]]


async def serve(client: Client, victim: str) -> None:
    """Play kubelet: the pod of the server's Job becomes ready."""
    [job], _ = await client.list(kinds.JOB, victim)
    pod = owned(
        {"apiVersion": "v1", "kind": "Pod", **job["spec"]["template"]}, {**kind("batch/v1", "Job"), **job}
    )
    own = {**labels_of(job), labels.JOB: name_of(job)}
    references = pod["metadata"]["ownerReferences"]
    pod["metadata"] = {"name": "server", "namespace": victim, "labels": own, "ownerReferences": references}
    del pod["spec"]["affinity"]
    await client.create(pod)
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    await client.merge_patch(kinds.POD, victim, "server", {"status": ready}, subresource="status")


def kind(version: str, name: str) -> Manifest:
    return {"apiVersion": version, "kind": name}


async def test_a_repository_on_a_volume_is_served_with_consent_and_until_the_end(
    victim: str, client: Client, namespace: str
) -> None:
    consent = {"metadata": {"annotations": {labels.ALLOW_CLONE_FROM: namespace}}}
    await client.merge_patch(kinds.PG_CLUSTER, victim, "prod", consent)
    await clone(client, namespace, "c1", clusterName="prod", repoName="repo1")
    restore = kinds.PG_RESTORE, namespace, naming.bootstrap_restore("c1")

    async def checking() -> bool:
        try:
            status = (await client.get(*restore)).get("status") or {}
        except NotFound:
            return False
        return "prod-repo-host-0" in (status.get("message") or "")

    await eventually(checking, "the restore waits for the repository host, which no node runs")
    await begin(client, namespace, "Stopping")

    async def offered() -> bool:
        return bool(await jobs(client, victim))

    await eventually(offered, "the server is created")
    await serve(client, victim)

    async def restoring() -> bool:
        return naming.restore_job("c1") in await jobs(client, namespace)

    await eventually(restoring, "the Job of the restore is created")
    copy = naming.restore_source("c1")
    assert await copies(client, namespace) == [copy]
    assert "client-tls.key" in (await client.get(kinds.SECRET, namespace, copy))["data"]
    # The end of the restore: its author deletes it; a pass of the source ends the server.
    uid = uid_of(await client.get(kinds.PG_CLUSTER, namespace, "c1"))
    await client.delete(kinds.PG_CLUSTER, namespace, "c1", uid=uid)
    await client.delete(*restore, uid=uid_of(await client.get(*restore)))
    await client.merge_patch(kinds.PG_CLUSTER, victim, "prod", {"spec": {"port": 6000}})

    async def ended() -> bool:
        return not await jobs(client, victim)

    await eventually(ended, "the server is gone")
