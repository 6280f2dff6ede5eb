"""What a restore sees of its cluster."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pgoperator import labels, naming
from pgoperator.api.pgrestore import PGRestore
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest
from reconcilers.pgrestore.observe import job, observe_restore, observe_with_cause, overwrites
from tests.support.views import NAMESPACE, NOW, cluster_manifest, filled_store

POD = "cluster1-instance1-abcd-0"


def seen(role: str, *, ready: bool = True) -> Any:
    """What is seen while Patroni has labelled a pod as the primary, and says this of it.

    The status shows a ready cluster; `ready` is the state of the pod.
    """
    own = {labels.CLUSTER: "cluster1", labels.PATRONI: "cluster1-ha"}
    instance = own | {labels.INSTANCE: "cluster1-instance1-abcd", labels.INSTANCE_SET: "instance1"}
    leader: Manifest = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": naming.patroni_scope("cluster1"),
            "namespace": NAMESPACE,
            "labels": own,
            "annotations": {"leader": POD},
        },
    }
    pod: Manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": POD,
            "namespace": NAMESPACE,
            "uid": "pod",
            "labels": instance | {labels.DATA: "postgres", labels.ROLE: "primary"},
            "annotations": {"status": json.dumps({"role": role})},
        },
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }
    cluster = cluster_manifest() | {"status": {"state": "ready"}}
    store = filled_store([cluster, leader, pod])
    restore = PGRestore.parse(
        {
            "apiVersion": "pgv2.percona.com/v2",
            "kind": "PerconaPGRestore",
            "metadata": {"name": "back", "namespace": NAMESPACE, "uid": "back"},
            "spec": {"pgCluster": "cluster1", "repoName": "repo1"},
        }
    )
    return observe_restore(cast("Context", SimpleNamespace(store=store, clock=lambda: NOW)), restore)[0]


def test_a_cluster_whose_status_is_from_before_its_stop_has_not_settled() -> None:
    assert seen("primary").settled
    assert not seen("primary", ready=False).settled


@pytest.mark.parametrize(("role", "reported"), [("promoted", False), ("replica", False), ("primary", True)])
def test_the_label_of_the_primary_comes_before_patronis_status(role: str, reported: bool) -> None:
    found = seen(role)
    assert (found.primary, found.role_reported) == ("cluster1-instance1-abcd", reported)


@pytest.mark.parametrize(
    ("code", "refused", "lost", "failed"),
    [(1, True, False, True), (3, False, True, True), (2, False, False, False)],
)
def test_the_status_of_the_script_shows_what_is_left_of_the_data(
    code: int, refused: bool, lost: bool, failed: bool
) -> None:
    made: Manifest = {"metadata": {"name": "j", "uid": "job", "creationTimestamp": "2026-01-01T00:00:00Z"}}
    end = {"exitCode": code, "message": "why", "finishedAt": "2026-01-01T00:01:00Z"}
    pod: Manifest = {
        "metadata": {"name": "p", "ownerReferences": [{"uid": "job", "controller": True}]},
        "status": {"containerStatuses": [{"name": "pgbackrest-restore", "state": {"terminated": end}}]},
    }
    found = job(made, [pod])
    assert (found.refused, found.lost, found.failed) == (refused, lost, failed)


@pytest.mark.parametrize(
    ("options", "tablespaces", "over"),
    [
        ([], [], False),
        (["--delta"], [], True),
        (["--type=immediate --delta=y"], [], True),
        (["--delta=n"], [], False),
        (["--no-delta"], [], False),
        ([], [{"name": "cold"}], True),
    ],
)
def test_a_restore_is_over_the_former_data_if_asked_for_or_with_tablespaces(
    options: list[str], tablespaces: list[Manifest], over: bool
) -> None:
    restore = PGRestore.parse(
        {
            "apiVersion": "pgv2.percona.com/v2",
            "kind": "PerconaPGRestore",
            "metadata": {"name": "back", "namespace": NAMESPACE, "uid": "back"},
            "spec": {"pgCluster": "cluster1", "repoName": "repo1", "options": options},
        }
    )
    assert overwrites(restore, {"spec": {"instances": [{"tablespaceVolumes": tablespaces}]}}) is over


@pytest.mark.parametrize(
    ("pods", "conditions", "message"),
    [
        ([], [], "FailedCreate: exceeded quota: q"),
        ([{"phase": "Pending"}], [], ""),
        ([], [{"type": "Failed", "status": "True", "message": "gone"}], "gone"),
    ],
)
async def test_why_the_job_gets_no_pod_is_read_from_its_events(
    pods: list[Manifest], conditions: list[Manifest], message: str
) -> None:
    own = {labels.CLUSTER: "cluster1", labels.PGBACKREST_RESTORE: ""}
    base = {"namespace": NAMESPACE, "labels": own, "creationTimestamp": NOW.isoformat()}
    made: Manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": base | {"name": naming.restore_job("cluster1"), "uid": "uid-job"},
        "status": {"conditions": conditions},
    }
    owner = {"kind": "Job", "name": "j", "uid": "uid-job", "controller": True}
    running = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": base | {"name": f"p{number}", "ownerReferences": [owner]},
            "status": status,
        }
        for number, status in enumerate(pods)
    ]

    async def listed(kind: Any, _namespace: str, fields: str) -> tuple[list[Manifest], str]:
        assert (kind, fields) == (kinds.EVENT, "type=Warning,involvedObject.uid=uid-job")
        event = {"reason": "FailedCreate", "message": "exceeded quota: q", "lastTimestamp": "1"}
        return [event], ""

    ctx = SimpleNamespace(
        store=filled_store([cluster_manifest(), made, *running]),
        clock=lambda: NOW,
        client=SimpleNamespace(list=listed),
    )
    restore = PGRestore.parse(
        {
            "apiVersion": "pgv2.percona.com/v2",
            "kind": "PerconaPGRestore",
            "metadata": {"name": "back", "namespace": NAMESPACE, "uid": "back"},
            "spec": {"pgCluster": "cluster1", "repoName": "repo1"},
        }
    )
    snapshot, _ = await observe_with_cause(cast("Context", ctx), restore)
    assert snapshot.job is not None
    assert snapshot.job.message == message
