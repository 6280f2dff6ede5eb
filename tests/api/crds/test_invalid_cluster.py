"""Backups and restores of a cluster whose spec is invalid, against a real API server."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from pgoperator import labels
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.apply import Applier
from pgoperator.kube.client import Client
from pgoperator.kube.events import Recorder
from pgoperator.kube.manifest import Key, Kind, Manifest
from pgoperator.kube.store import Store
from pgoperator.runtime.result import Result, Wait
from pgoperator.settings import Settings
from reconcilers.pgbackup.controller import PGBackups
from reconcilers.pgrestore.controller import PGRestores
from tests.api.crds.conftest import Create
from tests.support.views import NOW

pytestmark = pytest.mark.api
CAUSE = "the spec of PerconaPGCluster c is invalid: "


async def reconcile(
    create: Create, client: Client, namespace: str, kind: Kind, status: dict[str, Any], **metadata: Any
) -> tuple[Result, Manifest]:
    """Reconcile an object whose cluster has a typo; return the result and the new status."""
    wanted: Manifest = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": "a"} | metadata,
        "spec": {"pgCluster": "c", "repoName": "repo1"},
    }
    made = await create(wanted, dry=False)
    if status:
        made = await client.merge_patch(kind, namespace, "a", {"status": status}, subresource="status")
    store = Store(labels.CLUSTER)
    store.open(kind, None).put(made)
    cluster = {
        "apiVersion": kinds.PG_CLUSTER.api_version,
        "metadata": {"name": "c", "namespace": namespace, "uid": "u", "finalizers": [labels.FINALIZER]},
        "spec": {"instances": [{"name": "typo", "replicas": "two"}]},
    }
    store.open(kinds.PG_CLUSTER, None).put(cluster)
    ctx = Context(client, store, Applier(client, store), Recorder(client), Settings(), lambda: NOW)
    reconciler = PGBackups() if kind is kinds.PG_BACKUP else PGRestores()
    result = await reconciler.reconcile(ctx, Key(kind.kind, namespace, "a"))
    return result, (await client.get(kind, namespace, "a")).get("status", {})


@pytest.mark.parametrize("state", ["", "Starting", "Running"])
async def test_a_backup_waits_and_does_not_end(
    create: Create, client: Client, namespace: str, state: str
) -> None:
    """A typo in the cluster is corrected in a minute; the Job of a backup may have run for a day by then."""
    given = {"state": state} if state else {}
    result, status = await reconcile(create, client, namespace, kinds.PG_BACKUP, given)
    assert status.get("state", "") == state
    assert isinstance(result, Wait)
    assert result.reason.startswith(CAUSE)
    messages = [condition["message"] for condition in status.get("conditions", [])]
    assert messages == ([] if state == "Running" else [result.reason])


STATES = [("Starting", "Stopping"), ("Running", "Restoring"), ("Succeeded", "Replicas")]


@pytest.mark.parametrize("since", [NOW, NOW - timedelta(days=2)], ids=["in time", "late"])
@pytest.mark.parametrize("given", STATES, ids=lambda given: given[1])
async def test_a_restore_waits_with_the_cause(
    create: Create, client: Client, namespace: str, given: tuple[str, str], since: datetime
) -> None:
    """Up to the deadline of its phase; nothing that succeeded becomes a failure."""
    state, phase = given
    fields = {"state": state, "phase": phase, "phaseSince": f"{since:%Y-%m-%dT%H:%M:%SZ}"}
    held = {"finalizers": [labels.FINALIZER_RESTORE]}
    result, status = await reconcile(create, client, namespace, kinds.PG_RESTORE, fields, **held)
    assert isinstance(result, Wait)
    if phase == "Stopping" and since < NOW:
        assert (status["state"], status["phase"]) == ("Failed", "Aborting")
        assert CAUSE in status["error"]
    else:
        assert status["state"] in (state, "Starting")
        assert status["message"].startswith(CAUSE)
