"""Whether a cluster belongs to another operator, and what is reported about it."""

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Kind, Manifest, name_of
from pgoperator.settings import Settings
from reconcilers.pgbackup.watches import watches as backup_watches
from reconcilers.pgcluster.lifecycle import decide_hands_off, read_other_owner
from reconcilers.pgrestore.watches import watches as restore_watches
from tests.support import percona_cluster as theirs
from tests.support.views import NAMESPACE, NOW, cluster_manifest, filled_store

C = theirs.C
FORMER = theirs.OWNER | {"kind": kinds.PG_CLUSTER.kind, "uid": "uid-0"}
OURS = FORMER | {"uid": "uid-1"}
OTHER = FORMER | {"name": "cluster2"}
STRANGER = theirs.OWNER | {"kind": "Exporter", "name": "metrics"}


def cluster(*finalizers: str, deleting: bool = False, **status: Any) -> Manifest:
    manifest = cluster_manifest()
    manifest["metadata"] |= {"finalizers": list(finalizers), "resourceVersion": "1"}
    if deleting:
        manifest["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return manifest | {"status": status}


def owned_by(owner: Manifest | None, manifest: Manifest) -> Manifest:
    metadata = manifest["metadata"] | {"ownerReferences": [owner] if owner else []}
    return manifest | {"metadata": metadata | {"namespace": NAMESPACE}}


PARTS = {f"{one['kind']} {name_of(one)}": one for one in [*theirs.workloads(), *theirs.parts()]}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_each_object_of_the_inner_resource_is_evidence(part: Manifest) -> None:
    store = filled_store([owned_by(theirs.OWNER, part)])
    found = decide_hands_off.in_store(store, cluster(labels.FINALIZER))
    assert found == f"{part['kind']} {name_of(part)} belongs to PostgresCluster cluster1"


def test_the_certificate_authority_without_a_label_is_evidence() -> None:
    found = decide_hands_off.evidence(cluster(), [theirs.certificate_authority()])
    assert found == f"Secret {naming.cluster_ca(C)} belongs to PostgresCluster cluster1"


@pytest.mark.parametrize(
    "group", ["postgres-operator.crunchydata.com/v1beta1", "upstream.pgv2.percona.com/v1beta1"]
)
def test_the_group_of_the_inner_resource_does_not_matter(group: str) -> None:
    part = owned_by(theirs.OWNER | {"apiVersion": group}, theirs.parts()[0])
    assert decide_hands_off.evidence(cluster(), [part])


STATEFUL_SET, *_, DEPLOYMENT = theirs.workloads()
SERVICE = next(one for one in theirs.parts() if one["kind"] == "Service")


@pytest.mark.parametrize(
    ("owner", "part", "foreign"),
    [
        (STRANGER, STATEFUL_SET, True),
        (OTHER, STATEFUL_SET, True),
        (STRANGER, DEPLOYMENT, True),
        (STRANGER, SERVICE, False),
        (FORMER, STATEFUL_SET, False),
        (FORMER, SERVICE, False),
        (OURS, STATEFUL_SET, False),
        (None, STATEFUL_SET, False),
    ],
)
def test_whose_an_object_is(owner: Manifest | None, part: Manifest, foreign: bool) -> None:
    """A workload would be run as ours; a Service of a stranger with our label may be a user's addition."""
    assert bool(decide_hands_off.evidence(cluster(), [owned_by(owner, part)])) is foreign


def test_the_evidence_does_not_depend_on_the_order() -> None:
    found = {decide_hands_off.evidence(cluster(), order) for order in permutations(theirs.workloads())}
    assert found == {"StatefulSet cluster1-instance1-2b9d belongs to PostgresCluster cluster1"}


def test_what_a_deleted_cluster_leaves_is_no_evidence() -> None:
    assert decide_hands_off.evidence(cluster(), theirs.ownerless()) == ""


def test_workloads_of_a_user_are_no_evidence() -> None:
    exporter = owned_by(STRANGER, DEPLOYMENT)
    exporter["metadata"]["name"] = f"{C}-exporter"
    copy = owned_by(STRANGER, STATEFUL_SET)
    copy["metadata"] |= {"name": f"{C}-copy", "labels": labels.of_cluster(C)}
    assert decide_hands_off.evidence(cluster(), [exporter, copy]) == ""


@pytest.mark.parametrize("finalizer", decide_hands_off.THEIRS)
def test_the_finalizer_of_perconas_operator_is_evidence(finalizer: str) -> None:
    assert finalizer in decide_hands_off.evidence(cluster(finalizer), [])


@pytest.mark.parametrize("own", [STATEFUL_SET, SERVICE], ids=["StatefulSet", "Service"])
def test_a_cluster_that_this_operator_runs_stays_ours(own: Manifest) -> None:
    """Also when Percona's operator adds to it; but not with workloads of two operators."""
    finalizers = labels.FINALIZER, labels.FINALIZER_STOP_WATCHERS
    role = next(one for one in theirs.parts() if one["kind"] == "Role")
    assert decide_hands_off.evidence(cluster(*finalizers), [owned_by(OURS, own), role]) == ""
    assert decide_hands_off.evidence(cluster(*finalizers), [owned_by(OURS, own), DEPLOYMENT])


REFUSED = {"type": "Degraded", "status": "True", "reason": decide_hands_off.REASON}


@pytest.mark.parametrize(
    ("manifest", "foreign"),
    [
        (cluster(labels.FINALIZER_DELETE_PVC, deleting=True, conditions=[REFUSED]), True),
        (cluster(labels.FINALIZER, deleting=True, conditions=[REFUSED]), False),
        (cluster(labels.FINALIZER_DELETE_PVC, deleting=True), False),
        (cluster(conditions=[REFUSED]), False),
    ],
    ids=["refused before", "ours", "never examined", "not deleted"],
)
def test_the_end_of_a_deletion_is_the_other_operators(manifest: Manifest, foreign: bool) -> None:
    assert bool(decide_hands_off.evidence(manifest, [])) is foreign


# --- conditions ----------------------------------------------------------------------------------------


def test_other_conditions_are_kept_as_they_are() -> None:
    odd = {
        "type": "TheirOwn",
        "status": "True",
        "lastTransitionTime": "x",
        "reason": "R",
        "message": "",
        "new": 1,
    }
    found = decide_hands_off.conditions(cluster(state="ready", conditions=[odd]), "evidence", NOW)
    assert found[0] == odd
    assert [c["type"] for c in found] == ["TheirOwn", "Degraded"]


def test_ready_is_reported_only_while_nobody_else_reports() -> None:
    before = decide_hands_off.conditions(cluster(), "evidence", NOW)
    assert [(c["type"], c["status"]) for c in before] == [
        ("Ready", "False"),
        ("Progressing", "False"),
        ("Degraded", "True"),
    ]
    after = decide_hands_off.conditions(cluster(state="ready", conditions=before), "evidence", NOW)
    assert [c["type"] for c in after] == ["Degraded"]


def test_conditions_in_another_order_are_no_change() -> None:
    later = {"type": "TheirOwn", "status": "True", "reason": "R", "message": ""}
    stored = [*decide_hands_off.conditions(cluster(state="ready"), "evidence", NOW), later]
    found = decide_hands_off.conditions(cluster(state="ready", conditions=stored), "evidence", NOW)
    assert found == stored


def test_the_time_of_the_condition_is_that_of_its_beginning() -> None:
    first = decide_hands_off.conditions(cluster(), "evidence", NOW)
    assert decide_hands_off.conditions(cluster(conditions=first), "evidence", NOW + timedelta(1)) == first


def test_the_conditions_fit_the_definition() -> None:
    manifest = cluster(state="ready")
    manifest["status"]["conditions"] = decide_hands_off.conditions(manifest, "evidence", NOW)
    assert PGCluster.parse(manifest).status.condition("Degraded") is not None


@pytest.mark.parametrize("deleting", [False, True])
def test_the_message_has_cause_and_next_step(deleting: bool) -> None:
    text = decide_hands_off.message(cluster(deleting=deleting), "Role x belongs to PostgresCluster y")
    assert "cluster1 belongs to another operator: Role x belongs to PostgresCluster y." in text
    assert ("finalizers wait for the other operator" in text) is deleting
    assert ("Let one operator manage this namespace" in text) is not deleting


# --- cost, and who is woken ----------------------------------------------------------------------------


async def test_an_accepted_cluster_costs_no_request() -> None:
    """Neither itself, nor its backups and restores: the client is missing."""
    ours = cluster(labels.FINALIZER)
    store = filled_store([ours])
    ctx = Context(None, store, None, None, Settings(), lambda: NOW)  # type: ignore[arg-type]
    assert await read_other_owner.find(ctx, ours) == ""
    asked = theirs.backup("asked")
    asked["metadata"]["namespace"] = NAMESPACE
    assert await read_other_owner.may_serve(ctx, asked, begun_here=False)


@pytest.mark.parametrize("kind", [kinds.PG_BACKUP, kinds.PG_RESTORE], ids=lambda kind: kind.kind)
def test_the_acceptance_of_a_cluster_wakes_what_waits_for_it(kind: Kind) -> None:
    watches = backup_watches(lambda *_: ()) if kind is kinds.PG_BACKUP else restore_watches(lambda _: ())
    [watch] = [watch for watch in watches if watch.kind == kinds.PG_CLUSTER]
    assert watch.keep(cluster(), cluster(labels.FINALIZER))
    assert not watch.keep(cluster("a"), cluster("b"))
