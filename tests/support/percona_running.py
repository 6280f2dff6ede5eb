"""A cluster of Percona's operator that is well and quiet: what a takeover begins with.

The shapes are facts of release 3.1: names of containers, selectors, Services without an address. Images are
those of the tests, values are invented.
"""

import copy
import json
from typing import Any

from pgoperator import labels, naming
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest, name_of
from tests.support import percona_cluster as theirs
from tests.support.views import IMAGES, cluster_manifest

C = theirs.C
OPERATOR = "registry.example/percona-operator:3.1"
"""The image of Percona's operator, which also prepares its pods."""
PRIMARY, *REPLICAS = theirs.INSTANCES
INNER_KIND = "PostgresCluster"
INNER_CRD: Manifest = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "postgresclusters.upstream.pgv2.percona.com"},
    "spec": {
        "group": "upstream.pgv2.percona.com",
        "scope": "Namespaced",
        "names": {"kind": INNER_KIND, "plural": "postgresclusters"},
        "versions": [
            {
                "name": "v1beta1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}
"""A stand-in for Percona's definition: it accepts everything."""
_CONTAINERS = {
    "instance": ("database", "replication-cert-copy", "pgbackrest", "pgbackrest-config"),
    "host": ("pgbackrest", "pgbackrest-config"),
    "pooler": ("pgbouncer", "pgbouncer-config"),
}
IMAGE_OF = {
    "database": IMAGES["postgres", 17],
    "replication-cert-copy": IMAGES["postgres", 17],
    "pgbackrest": IMAGES["pgbackrest", 0],
    "pgbackrest-config": IMAGES["pgbackrest", 0],
    "pgbouncer": IMAGES["pgbouncer", 0],
    "pgbouncer-config": IMAGES["pgbouncer", 0],
}
_SERVICES: dict[str, dict[str, Any]] = {
    "ha": {},
    "ha-config": {"clusterIP": "None"},
    "primary": {"clusterIP": "None"},
    "pods": {"clusterIP": "None", "selector": labels.of_cluster(C)},
    "replicas": {"selector": labels.of_cluster(C) | {labels.ROLE: labels.ROLE_REPLICA}},
    "pgbouncer": {"selector": labels.pgbouncer(C)},
}


def cluster(**spec: Any) -> Manifest:
    """The PerconaPGCluster."""
    manifest = cluster_manifest(**({"crVersion": "3.1.0"} | spec))
    manifest["metadata"] |= {"name": C, "finalizers": [labels.FINALIZER_STOP_WATCHERS]}
    return manifest | {"status": copy.deepcopy(theirs.STATUS)}


def inner(owner: Manifest) -> Manifest:
    """The inner resource of a PerconaPGCluster."""
    reference = {k: owner[k] for k in ("apiVersion", "kind")} | {
        "name": name_of(owner),
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }
    metadata = {"name": C, "ownerReferences": [reference], "uid": theirs.OWNER["uid"]}
    return {"apiVersion": theirs.OWNER["apiVersion"], "kind": INNER_KIND, "metadata": metadata}


def objects() -> list[Manifest]:
    """Everything but custom resources, Secrets and pods."""
    found = [_workload(one) for one in theirs.workloads()]
    for one in theirs.parts():
        if one["kind"] == kinds.SERVICE.kind:
            one["spec"] = one["spec"] | _SERVICES[name_of(one).removeprefix(f"{C}-")]
        found.append(one)
    budget = theirs.owned(kinds.POD_DISRUPTION_BUDGET, naming.set_disruption_budget(C, "instance1"), spec={})
    return [*found, budget, *(one for one in theirs.ownerless() if one["kind"] != kinds.SECRET.kind)]


def _workload(manifest: Manifest) -> Manifest:
    name, spec = name_of(manifest), manifest["spec"]
    if manifest["kind"] == kinds.DEPLOYMENT.kind:
        role, selector = "pooler", labels.pgbouncer(C)
        spec["replicas"] = 3
    elif name == naming.repo_host(C):
        role = "host"
        selector = labels.of_cluster(C) | {labels.PGBACKREST: "", labels.PGBACKREST_DEDICATED: ""}
        spec |= {"podManagementPolicy": "Parallel", "revisionHistoryLimit": 10}
    else:
        role, selector = "instance", labels.instance(C, "instance1", name)
        spec |= {"updateStrategy": {"type": "OnDelete"}, "revisionHistoryLimit": 0}
    spec["selector"] = {"matchLabels": selector}
    spec["template"]["spec"] = {
        "containers": [{"name": one, "image": IMAGE_OF[one]} for one in _CONTAINERS[role]],
        "initContainers": [{"name": f"{role}-init", "image": OPERATOR}],
    }
    return manifest


def pods() -> list[Manifest]:
    """All pods, ready; the replicas stream."""
    found = theirs.pods()
    for one in found:
        leads = naming.pod(PRIMARY) == name_of(one)
        member = {"state": "running" if leads else "streaming", "timeline": 3, "xlog_location": 42}
        one["metadata"]["annotations"] = {"status": json.dumps(member)}
    host = theirs.loose(kinds.POD, naming.pod(naming.repo_host(C)), labels.repo_host(C))
    poolers = [theirs.loose(kinds.POD, f"{C}-pgbouncer-{n}", labels.pgbouncer(C)) for n in "abc"]
    for one in (host, *poolers):
        one["spec"] = {"containers": [{"name": "main", "image": "none"}]}
    return [one | {"status": ready()} for one in (*found, host, *poolers)]


def ready(*, is_so: bool = True) -> Manifest:
    """The status of a pod."""
    return {"conditions": [{"type": "Ready", "status": "True" if is_so else "False"}]}
