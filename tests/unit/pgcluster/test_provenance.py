"""Whether a cluster has data: any evidence counts, and no absence does."""

from typing import Any

import pytest

from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.bootstrap import decide_restore_gate, decide_source
from reconcilers.pgcluster.state import provenance
from reconcilers.pgcluster.state.view import View
from reconcilers.pgcluster.status import build_status
from tests.support.instances import NAMES, pod, stateful_set, volume
from tests.support.views import NAMESPACE, filled_store, view
from tests.unit.pgcluster.observed import bootstrapped
from tests.unit.pgcluster.test_status import GOOD, World

SOURCE = {
    "pgbackrest": {
        "stanza": "db",
        "repo": {"name": "repo1", "s3": {"bucket": "b", "endpoint": "e", "region": "r"}},
    }
}
KNOWN = {"patroni": {"status": {"systemIdentifier": "7300000000000000001"}}}


def old(claim: Manifest, time: str = "2025-12-31T00:00:00Z") -> Manifest:
    claim["metadata"]["creationTimestamp"] = time
    return claim


def cluster(*objects: Manifest, status: Manifest | None = None) -> View:
    one = view(list(objects), status=status, dataSource=SOURCE)
    metadata = one.cluster.metadata.model_copy(update={"creation_timestamp": one.now})
    return View(**{**vars(one), "cluster": one.cluster.model_copy(update={"metadata": metadata})})


EVIDENCE: dict[str, tuple[list[Manifest], Manifest | None]] = {
    "Patroni's Endpoints have the system identifier": ([bootstrapped()], None),
    "the status has it": ([], KNOWN),
    "an instance exists": ([stateful_set(NAMES[0])], None),
    "a volume is older than the cluster": ([old(volume(NAMES[0]))], None),
}


@pytest.mark.parametrize("case", EVIDENCE)
def test_one_piece_of_evidence_is_enough(case: str) -> None:
    """Whatever else was deleted: a running cluster is never filled again (findings C2, H6)."""
    objects, status = EVIDENCE[case]
    one = cluster(*objects, status=status)
    assert provenance.has_data(one.cluster, one.observed)
    assert decide_source.held(filled_store([]), one.cluster, one.observed) is None


def test_without_evidence_a_cluster_waits_for_its_source() -> None:
    one = cluster(old(volume(NAMES[0]), "2026-02-01T00:00:00Z"))
    assert not provenance.has_data(one.cluster, one.observed)
    held = decide_source.held(filled_store([]), one.cluster, one.observed)
    assert held is not None
    assert held.bootstrap


def test_a_pod_with_our_labels_alone_is_no_evidence() -> None:
    one = cluster(pod(NAMES[0], "primary"))
    assert not provenance.has_data(one.cluster, one.observed)


def restore(phase: str | None, **status: Any) -> Manifest:
    return {
        "apiVersion": "pgv2.percona.com/v2",
        "kind": "PerconaPGRestore",
        "metadata": {
            "name": "cluster1-bootstrap",
            "namespace": NAMESPACE,
            "uid": "u",
            "annotations": {"postgres-operator.crunchydata.com/pgbackrest-restore-bootstrap": "true"},
        },
        "spec": {"pgCluster": "cluster1", "repoName": "repo1"},
        "status": {"phase": phase, **status} if phase else status,
    }


@pytest.mark.parametrize(
    ("phase", "has_data", "decides"),
    [(None, False, True), (None, True, False), ("Checking", True, False), ("Promoting", True, True)],
)
def test_a_bootstrap_that_has_not_begun_decides_nothing_about_a_cluster_with_data(
    phase: str | None, has_data: bool, decides: bool
) -> None:
    from pgoperator import labels

    found = restore(phase)
    found["metadata"]["annotations"] = {labels.BOOTSTRAP_RESTORE: "true"}
    store = filled_store([found])
    active = decide_restore_gate.active(store, NAMESPACE, "cluster1", has_data=has_data)
    assert (active is not None) is decides


def test_the_status_never_loses_the_system_identifier() -> None:
    """Also when Patroni's Endpoints were deleted since (`kubectl delete svc --all`)."""
    first = build_status.status(World().view(), GOOD, World().memory(), [])
    lost = World(new=True)
    later = build_status.status(lost.view(first), GOOD, lost.memory(), [])
    for status in (first, later):
        assert status.patroni is not None
        assert status.patroni.status is not None
        assert status.patroni.status.system_identifier == "7300000000000000001"
