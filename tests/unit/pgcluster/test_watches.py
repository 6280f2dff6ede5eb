"""What wakes a cluster, and what does not: an unchanged cluster must cost nothing."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Key, Kind, Manifest
from pgoperator.runtime.source import Watch
from reconcilers.pgcluster.credentials import read_references
from reconcilers.pgcluster.watches import WATCHES
from tests.support.views import NAMESPACE, cluster_manifest, view
from tests.unit.pgcluster.observed import bootstrapped, claim, instance_pod, leader, stateful_set

# Kinds that name their cluster in spec.pgCluster and carry no label of it.
REFERRING = ("PerconaPGBackup", "PerconaPGRestore")
NAME = view().planned[0].name
Change = Callable[[Manifest], Any]


def watch(kind: Kind) -> Watch:
    [found] = [one for one in WATCHES if one.kind == kind]
    return found


def wakes(kind: Kind, old: Manifest, change: Change) -> bool:
    new = copy.deepcopy(old)
    new["metadata"]["resourceVersion"] = "2"
    change(new)
    return watch(kind).keep(old, new)


def patroni(**says: Any) -> Change:
    """Patroni's word changes."""

    def change(pod: Manifest) -> None:
        annotations = pod["metadata"]["annotations"]
        annotations["status"] = json.dumps(json.loads(annotations["status"]) | says)

    return change


def annotate(**values: str) -> Change:
    return lambda manifest: manifest["metadata"].setdefault("annotations", {}).update(values)


def nothing(manifest: Manifest) -> None:
    """Only the resourceVersion has changed."""


POD = instance_pod(
    NAME,
    containers=[
        {"name": "database", "ready": True, "restartCount": 0, "state": {"running": {"startedAt": "a"}}}
    ],
)


def container(**fields: Any) -> Change:
    return lambda pod: pod["status"]["containerStatuses"][0].update(fields)


def not_ready(pod: Manifest) -> None:
    pod["status"]["conditions"][0]["status"] = "False"


@pytest.mark.parametrize(
    "change",
    [
        nothing,
        patroni(xlog_location=43),
        patroni(xlog_location=99, dcs_last_seen=123, receive_lag=0),
        annotate(mine="1"),
        container(state={"running": {"startedAt": "b"}}),
        lambda pod: pod["status"]["conditions"][0].update(lastProbeTime="x", lastTransitionTime="y"),
        lambda pod: pod["metadata"].update(managedFields=[{"manager": "kubelet"}]),
    ],
)
def test_a_pod_that_merely_goes_on_wakes_nobody(change: Change) -> None:
    assert not wakes(kinds.POD, POD, change)


@pytest.mark.parametrize(
    "change",
    [
        not_ready,
        patroni(state="stopped"),
        patroni(state="running", replication_state="in archive recovery"),
        patroni(role="primary"),
        patroni(timeline=2),
        patroni(pending_restart=True),
        patroni(pending_restart_reason={"max_wal_senders": {"old_value": "10", "new_value": "8"}}),
        patroni(version="4.0.6"),
        container(restartCount=1),
        container(ready=False),
        container(state={"waiting": {"reason": "ImagePullBackOff"}}),
        lambda pod: pod["metadata"]["labels"].update({labels.ROLE: "primary"}),
        lambda pod: pod["metadata"].update(deletionTimestamp="2026-01-02T03:04:05Z"),
        lambda pod: pod["metadata"].update(uid="another"),
        lambda pod: pod["status"]["conditions"].append(
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        ),
    ],
)
def test_a_pod_that_is_not_what_it_was_wakes_its_cluster(change: Change) -> None:
    assert wakes(kinds.POD, POD, change)


def test_a_replica_that_begins_to_stream_wakes_its_cluster() -> None:
    """Whichever of Patroni's two words says so."""
    copying = instance_pod(NAME, state="creating replica")
    assert wakes(kinds.POD, copying, patroni(state="streaming"))
    assert wakes(kinds.POD, instance_pod(NAME, state="running"), patroni(replication_state="streaming"))


LEASE = leader(NAME, renewTime="2026-01-02T03:04:05Z", ttl="30", optime="42", transitions="0")


@pytest.mark.parametrize(
    "change",
    [
        nothing,
        annotate(renewTime="2026-01-02T03:04:15Z"),
        annotate(renewTime="2026-01-02T03:04:15Z", optime="4242", slots="{}"),
        annotate(transitions="1"),
        annotate(failsafe='{"a": "b"}'),
    ],
)
def test_a_lease_that_is_renewed_wakes_nobody(change: Change) -> None:
    assert not wakes(kinds.ENDPOINTS, LEASE, change)


@pytest.mark.parametrize(
    "change",
    [
        annotate(leader="another-0"),
        lambda endpoints: endpoints["metadata"]["annotations"].pop("leader"),
        lambda endpoints: endpoints.update(subsets=[{"addresses": [{"ip": "10.0.0.1"}]}]),
        lambda endpoints: endpoints["metadata"]["labels"].clear(),
        lambda endpoints: endpoints["metadata"].update(ownerReferences=[{"uid": "x"}]),
    ],
)
def test_another_leader_wakes_the_cluster(change: Change) -> None:
    assert wakes(kinds.ENDPOINTS, LEASE, change)


@pytest.mark.parametrize("change", [annotate(config='{"ttl": 20}'), annotate(initialize="8")])
def test_another_configuration_wakes_the_cluster(change: Change) -> None:
    assert wakes(kinds.ENDPOINTS, bootstrapped(), change)


def test_another_synchronous_member_wakes_the_cluster() -> None:
    """A switchover waits for one."""
    old = bootstrapped()
    old["metadata"]["name"] = naming.patroni_sync("cluster1")
    assert wakes(kinds.ENDPOINTS, old, annotate(sync_standby="another-0"))


def test_patroni_s_history_wakes_nobody() -> None:
    assert not wakes(kinds.ENDPOINTS, bootstrapped(), annotate(history="[]"))


def test_our_own_status_does_not_wake_us() -> None:
    cluster = cluster_manifest()
    assert not wakes(kinds.PG_CLUSTER, cluster, lambda c: c.update(status={"state": "ready"}))


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["spec"].update(port=6000),
        lambda c: c["metadata"].update(generation=2),
        lambda c: c["metadata"].update(deletionTimestamp="2026-01-02T03:04:05Z"),
        lambda c: c["metadata"].update(finalizers=["percona.com/delete-pvc"]),
        annotate(please="1"),
    ],
)
def test_a_changed_custom_resource_wakes_its_cluster(change: Change) -> None:
    assert wakes(kinds.PG_CLUSTER, cluster_manifest(), change)


def own(kind: Kind, **body: Any) -> Manifest:
    """An object of the cluster, as an API server would show it."""
    metadata = {
        "name": "x",
        "namespace": NAMESPACE,
        "uid": "u",
        "resourceVersion": "1",
        "labels": labels.of_cluster("cluster1"),
    }
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **body}


RESIZING = {"type": "Resizing", "status": "True"}
DRIFT: list[tuple[Kind, dict[str, Any], Change]] = [
    (kinds.STATEFUL_SET, {"spec": {"replicas": 1}}, lambda m: m["spec"].update(replicas=0)),
    (kinds.STATEFUL_SET, {"status": {}}, lambda m: m["status"].update(updateRevision="x-2")),
    (kinds.STATEFUL_SET, {"status": {}}, lambda m: m["status"].update(observedGeneration=2)),
    (kinds.DEPLOYMENT, {"spec": {"replicas": 1}}, lambda m: m["spec"].update(replicas=0)),
    (kinds.SERVICE, {"spec": {"type": "ClusterIP"}}, lambda m: m["spec"].update(type="NodePort")),
    (kinds.SERVICE, {"spec": {}, "status": {}}, lambda m: m["status"].update(loadBalancer={"ingress": []})),
    (kinds.SECRET, {"data": {"password": "YQ=="}}, lambda m: m["data"].update(password="Yg==")),
    (kinds.CONFIG_MAP, {"data": {"a": "b"}}, lambda m: m["data"].update(a="c")),
    (kinds.ROLE, {"rules": []}, lambda m: m["rules"].append({})),
    (kinds.ROLE_BINDING, {"subjects": []}, lambda m: m["subjects"].append({})),
    (kinds.POD_DISRUPTION_BUDGET, {"spec": {"minAvailable": 1}}, lambda m: m["spec"].update(minAvailable=0)),
    (kinds.SERVICE_ACCOUNT, {}, lambda m: m["metadata"]["labels"].clear()),
    (kinds.PVC, {"status": {"phase": "Pending"}}, lambda m: m["status"].update(phase="Bound")),
    (
        kinds.PVC,
        {"status": {"capacity": {"storage": "1Gi"}}},
        lambda m: m["status"]["capacity"].update(storage="2Gi"),
    ),
    (kinds.PVC, {"status": {}}, lambda m: m["status"].update(conditions=[RESIZING])),
]


@pytest.mark.parametrize(("kind", "body", "change"), DRIFT)
def test_drift_wakes_the_cluster_and_a_mere_version_does_not(
    kind: Kind, body: dict[str, Any], change: Change
) -> None:
    assert wakes(kind, own(kind, **copy.deepcopy(body)), change)
    assert not wakes(kind, own(kind, **copy.deepcopy(body)), nothing)


@pytest.mark.parametrize("kind", [kinds.STATEFUL_SET, kinds.DEPLOYMENT, kinds.POD_DISRUPTION_BUDGET])
def test_the_status_of_a_workload_wakes_nobody(kind: Kind) -> None:
    """Its pods do."""
    old = own(kind, spec={}, status={"readyReplicas": 0})
    assert not wakes(kind, old, lambda m: m["status"].update(readyReplicas=1))


@pytest.mark.parametrize(
    "one", [one for one in WATCHES if one.kind.kind not in REFERRING], ids=lambda w: w.kind.kind
)
def test_what_appears_or_goes_wakes_its_cluster(one: Watch) -> None:
    manifest = own(one.kind, spec={}, status={})
    assert one.keep(None, manifest)
    assert one.keep(manifest, None)
    assert list(one.to_keys(manifest)) == [
        Key("PerconaPGCluster", NAMESPACE, "x" if one.kind == kinds.PG_CLUSTER else "cluster1")
    ]


@pytest.mark.parametrize(
    "one", [one for one in WATCHES if not one.kind.kind.startswith("Percona")], ids=lambda w: w.kind.kind
)
def test_objects_of_nobody_are_neither_seen_nor_wake_anybody(one: Watch) -> None:
    assert one.selector == labels.CLUSTER
    stranger = own(one.kind)
    stranger["metadata"]["labels"] = {}
    assert list(one.to_keys(stranger)) == []


@pytest.mark.parametrize(
    "one", [one for one in WATCHES if one.kind.kind in REFERRING], ids=lambda w: w.kind.kind
)
def test_a_backup_or_restore_wakes_the_cluster_that_it_names(one: Watch) -> None:
    manifest = own(one.kind, spec={"pgCluster": "cluster1"})
    manifest["metadata"]["labels"] = {}
    assert list(one.to_keys(manifest)) == [Key("PerconaPGCluster", NAMESPACE, "cluster1")]
    assert one.keep(None, manifest)
    assert list(one.to_keys(own(one.kind, spec={}))) == []


def test_a_secret_that_a_user_of_the_spec_names_wakes_the_cluster() -> None:
    """It may be somebody else's, without a label of the cluster."""
    cluster = view(users=[{"name": "app", "secretName": "mine"}, {"name": "other"}]).cluster
    assert read_references.secrets(cluster, (), backups_enabled=True) == {"mine"}


def test_every_kind_that_a_pass_writes_is_watched() -> None:
    from reconcilers.pgcluster import pipeline

    written = {m["kind"] for m in pipeline.build(view()).manifests} | {"Secret", "Endpoints", "Pod"}
    assert written <= {one.kind.kind for one in WATCHES}


@pytest.mark.parametrize(
    "manifest", [stateful_set(NAME), claim("x", {}), POD, LEASE], ids=lambda m: m["kind"]
)
def test_a_filter_takes_objects_as_they_are(manifest: Manifest) -> None:
    assert not wakes(kinds.kind_of(manifest), manifest, nothing)


@pytest.mark.parametrize("says", ["", "null", "[]", "7", '{"timeline": "x"}', '{"state": null}', "{"])
def test_an_annotation_that_makes_no_sense_is_no_reason_to_fall(says: str) -> None:
    assert wakes(kinds.POD, POD, annotate(status=says))
    assert naming.pod(NAME) == POD["metadata"]["name"]
