"""What a restore sees of its cluster."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pgoperator import labels, naming
from pgoperator.api.pgrestore import PGRestore
from pgoperator.context import Context
from pgoperator.kube.manifest import Manifest
from reconcilers.pgrestore.observe import facts
from tests.support.views import NAMESPACE, NOW, cluster_manifest, filled_store

POD = "cluster1-instance1-abcd-0"


def seen(role: str) -> Any:
    """What is seen while Patroni has labelled a pod as the primary, and says this of it."""
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
    }
    store = filled_store([cluster_manifest(), leader, pod])
    restore = PGRestore.parse(
        {
            "apiVersion": "pgv2.percona.com/v2",
            "kind": "PerconaPGRestore",
            "metadata": {"name": "back", "namespace": NAMESPACE, "uid": "back"},
            "spec": {"pgCluster": "cluster1", "repoName": "repo1"},
        }
    )
    return facts(cast("Context", SimpleNamespace(store=store, clock=lambda: NOW)), restore)[0]


@pytest.mark.parametrize(("role", "told"), [("promoted", False), ("replica", False), ("primary", True)])
def test_the_label_of_the_primary_comes_before_patronis_word(role: str, told: bool) -> None:
    found = seen(role)
    assert (found.primary, found.told) == ("cluster1-instance1-abcd", told)
