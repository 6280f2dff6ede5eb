"""The Lease of a cluster's repositories, and objects of removed backups, against a real API server."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.api.pgbackup import PGBackup
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.apply import Applier
from pgoperator.kube.client import Client
from pgoperator.kube.events import Recorder
from pgoperator.kube.manifest import Manifest
from pgoperator.kube.store import Store
from pgoperator.settings import Settings
from reconcilers.jobs import JobStatus
from reconcilers.pgbackup import act_backup_jobs, decide_state, lease
from reconcilers.pgbackup.observe import Snapshot
from tests.support.views import NOW

pytestmark = pytest.mark.api
Look = Callable[..., Awaitable[Context]]


def backup(name: str, uid: str, state: str = "Running", **metadata: Any) -> Manifest:
    return {
        "apiVersion": "pgv2.percona.com/v2",
        "kind": "PerconaPGBackup",
        "metadata": {"name": name, "uid": uid, "resourceVersion": "1"} | metadata,
        "spec": {"pgCluster": "c", "repoName": "repo1"},
        "status": {"state": state},
    }


@pytest.fixture
def look(client: Client, namespace: str) -> Look:
    """An operator with an up-to-date store that has these backups."""

    async def at(*backups: Manifest) -> Context:
        store = Store(labels.CLUSTER)
        own = store.open(kinds.PG_BACKUP, None)
        for manifest in backups:
            manifest["metadata"]["namespace"] = namespace
            own.put(manifest)
        shard = store.open(kinds.LEASE, None)
        found, _ = await client.list(kinds.LEASE, namespace)
        for one in found:
            shard.put(one)
        return Context(client, store, Applier(client, store), Recorder(client), Settings(), lambda: NOW)

    return at


async def holder(client: Client, namespace: str) -> str:
    found = await client.get(kinds.LEASE, namespace, naming.backup_lease("c"))
    return str(found["spec"].get("holderIdentity", ""))


async def test_one_at_a_time(look: Look, client: Client, namespace: str) -> None:
    ctx = await look(backup("a", "1"), backup("b", "2"))
    assert await lease.acquire(ctx, namespace, "c", "a|1") == ""
    assert await lease.acquire(ctx, namespace, "c", "a|1") == "", "the lease is held by `a|1`"
    assert await lease.acquire(ctx, namespace, "c", "b|2") == "a|1"
    ctx = await look(backup("a", "1"), backup("b", "2"))
    assert await lease.acquire(ctx, namespace, "c", "b|2") == "a|1"
    await lease.release(ctx, namespace, "c", "b|2")
    assert await holder(client, namespace) == "a|1", "only the holder can give it up"
    await lease.release(ctx, namespace, "c", "a|1")
    assert await lease.acquire(await look(backup("b", "2")), namespace, "c", "b|2") == ""


async def test_of_many_at_once_one_gets_it(look: Look, namespace: str) -> None:
    names = [f"b{n}" for n in range(6)]
    ctx = await look(*(backup(name, name) for name in names))
    answers = await asyncio.gather(*(lease.acquire(ctx, namespace, "c", f"{n}|{n}") for n in names))
    assert answers.count("") == 1


async def test_the_turn_is_the_holders_although_another_came_earlier(look: Look, namespace: str) -> None:
    """Both have the same creation second, and the second was seen first: neither must wait for the other."""
    asked = {"creationTimestamp": "2026-01-01T00:00:00Z"}
    both = [backup(name, name, **asked) for name in ("a", "b")]
    for one in both:
        one["metadata"]["namespace"] = namespace
        waits = decide_state.queued(PGBackup.parse(one | {"status": {}}), "LeaseAlreadyHeld", "waiting", NOW)
        one["status"] = waits.to_manifest()
    parsed = [PGBackup.parse(one) for one in both]
    ctx = await look(*both)
    before = [(await Snapshot.of(ctx, one)).queued_before for one in parsed]
    assert await lease.acquire(ctx, namespace, "c", "b|b") == ""
    ctx = await look(*both)
    assert (before, [(await Snapshot.of(ctx, one)).queued_before for one in parsed]) == (["", "a"], ["", ""])
    assert await lease.acquire(ctx, namespace, "c", "a|a") == "b|b"


@pytest.mark.parametrize(
    "there",
    [
        [],
        [backup("a", "another")],
        [backup("a", "1", "Succeeded")],
        [backup("a", "1", "Failed")],
        [
            backup(
                "a",
                "1",
                "Succeeded",
                deletionTimestamp="2026-01-01T00:00:00Z",
                annotations={labels.BACKUP_EXPIRED: "true"},
            )
        ],
    ],
    ids=["gone", "its name used again", "succeeded", "failed", "expired"],
)
async def test_a_dead_holder_is_evicted(
    look: Look, client: Client, namespace: str, there: list[Manifest]
) -> None:
    await lease.acquire(await look(backup("a", "1")), namespace, "c", "a|1")
    ctx = await look(*there, backup("b", "2"))
    assert await lease.acquire(ctx, namespace, "c", "b|2") == ""
    assert await holder(client, namespace) == "b|2"
    found = await client.get(kinds.LEASE, namespace, naming.backup_lease("c"))
    assert found["spec"]["leaseTransitions"] == 1


async def test_why_a_job_gets_no_pod_is_read_from_its_events(
    look: Look, client: Client, namespace: str
) -> None:
    ctx = await look()

    async def event(name: str, uid: str, at: str, **more: str) -> None:
        about = {"kind": "Job", "namespace": namespace, "name": "j", "uid": uid}
        fields = {"type": "Warning", "reason": "FailedCreate", "lastTimestamp": at} | more
        metadata = {"name": name, "namespace": namespace}
        manifest = {"apiVersion": "v1", "kind": "Event", "metadata": metadata, "involvedObject": about}
        await client.create(manifest | fields)

    async def cause(seen: JobStatus) -> str:
        found = await act_backup_jobs.with_event_cause(
            ctx,
            Snapshot(
                namespace=namespace,
                cluster=None,
                view=None,
                invalid="",
                job=seen,
                job_uid="u-1",
                event_subject="u-1",
                has_active_pods=False,
                ttl=None,
                queued_before="",
            ),
        )
        assert found is not None
        return found.cause

    old, young = (NOW - timedelta(seconds=s) for s in (20, 1))
    waits = JobStatus("j", created=old.isoformat())
    assert await cause(waits) == ""
    await event("new", "u-1", "2026-01-01T00:00:09Z", message="exceeded quota: two")
    await event("old", "u-1", "2026-01-01T00:00:01Z", message="exceeded quota: one")
    await event("other", "u-2", "2026-01-01T00:00:10Z", message="of another Job")
    await event("good", "u-1", "2026-01-01T00:00:10Z", message="created", type="Normal")
    assert await cause(waits) == "FailedCreate: exceeded quota: two"
    assert await cause(JobStatus("j", created=young.isoformat())) == "", "a pod needs a moment to start"
    assert await cause(replace(waits, started=True)) == ""
    assert await cause(replace(waits, cause="unschedulable")) == "unschedulable"


async def test_one_that_is_being_deleted_still_works(look: Look, namespace: str) -> None:
    going = backup("a", "1", "Succeeded", deletionTimestamp="2026-01-01T00:00:00Z")
    await lease.acquire(await look(going), namespace, "c", "a|1")
    ctx = await look(going, backup("b", "2"))
    assert await lease.acquire(ctx, namespace, "c", "b|2") == "a|1"
