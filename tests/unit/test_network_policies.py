"""The sample of network policies, against the labels of the pods that the operator makes.

The policies are evaluated as Kubernetes defines it: a pod that a policy selects accepts only what some policy
that selects it allows. A network plugin that enforces them is not part of the test.
"""

from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from pgoperator import generate
from pgoperator.api.pgbackup import PGBackup
from pgoperator.api.pgrestore import PGRestore
from pgoperator.kube.manifest import Manifest, labels_of
from reconcilers.pgbackup import build_backup_jobs
from reconcilers.pgcluster import pipeline
from reconcilers.pgrestore import build_clone_server, build_job
from tests.support.views import NAMESPACE, view

POLICIES = [*yaml.safe_load_all((generate.ROOT / "manifests/hardening/network-policies.yaml").read_text())]
PORTS = (5432, 8008, 8432, 7777, 30100, 22)


@dataclass(frozen=True)
class Pod:
    """Where a connection comes from or goes to."""

    labels: dict[str, str]
    namespace: str = NAMESPACE


def template(manifest: Manifest) -> Pod:
    return Pod(dict(labels_of(manifest["spec"]["template"])))


def pods(cluster: str) -> dict[str, Pod]:
    """One pod of each kind that a cluster has, with the labels that the operator gives it."""
    one = view(name=cluster)
    made = {f"{m['kind']} {m['metadata']['name']}": m for m in pipeline.build(one).manifests}
    instance = next(m for name, m in made.items() if name.startswith(f"StatefulSet {cluster}-instance1-"))
    metadata = {"name": "x", "namespace": NAMESPACE, "uid": "uid"}
    spec = {"pgCluster": cluster, "repoName": "repo1"}
    status = {"instance": f"{cluster}-instance1-abcd"}
    backup = PGBackup.parse({"metadata": metadata, "spec": spec})
    restore = PGRestore.parse({"metadata": metadata, "spec": spec, "status": status})
    repo = one.repos[0]
    primary = template(instance).labels | {"postgres-operator.crunchydata.com/role": "primary"}
    return {
        "instance": Pod(primary),
        "repository": template(made[f"StatefulSet {cluster}-repo-host"]),
        "pooler": template(made[f"Deployment {cluster}-pgbouncer"]),
        "backup": template(build_backup_jobs.backup(one, backup, repo, [], "manual")),
        "restore": template(build_job.manifest(one, restore, [])),
        "clone": template(build_clone_server.job(one, restore, repo)),
    }


OURS = pods("cluster1")
THEIRS = {f"their {name}": pod for name, pod in pods("cluster2").items()}
OTHERS = {
    "stranger": Pod({"app": "x"}),
    "client": Pod({"postgres-client": "cluster1"}),
    "client of another": Pod({"postgres-client": "cluster2"}),
    "client elsewhere": Pod({"postgres-client": "cluster1"}, "elsewhere"),
    "prometheus": Pod({"app": "prometheus"}, "monitoring"),
    "restore elsewhere": Pod(pods("clone")["restore"].labels, "elsewhere"),
    "their instance elsewhere": Pod(OURS["instance"].labels, "elsewhere"),
    "operator": Pod({"app.kubernetes.io/name": "pgoperator"}, "operators"),
}
INSIDE = ("instance", "repository", "backup", "restore", "clone")
# The table of docs/operations/security.md: from, to, ports.
ALLOWED = {
    **{(source, "instance"): (5432, 8008, 8432) for source in INSIDE},
    **{(source, "repository"): (5432, 8008, 8432) for source in INSIDE},
    ("pooler", "instance"): (5432,),
    ("client", "instance"): (5432,),
    ("client", "pooler"): (5432,),
    ("prometheus", "instance"): (8008,),
    ("restore", "clone"): (8432,),
    ("their restore", "clone"): (8432,),
    ("restore elsewhere", "clone"): (8432,),
}


def matches(selector: Any, labels: dict[str, str]) -> bool:
    for name, value in (selector.get("matchLabels") or {}).items():
        if labels.get(name) != value:
            return False
    for one in selector.get("matchExpressions") or ():
        has, values = labels.get(one["key"]), one.get("values", ())
        met = {"In": has in values, "NotIn": has not in values, "Exists": has is not None}[one["operator"]]
        if not met:
            return False
    return True


def is_peer(peer: Any, source: Pod) -> bool:
    namespaces = peer.get("namespaceSelector")
    if namespaces is None and source.namespace != NAMESPACE:
        return False
    of_namespace = {"kubernetes.io/metadata.name": source.namespace}
    return (namespaces is None or matches(namespaces, of_namespace)) and matches(
        peer.get("podSelector", {}), source.labels
    )


def is_allowed(source: Pod, target: Pod, port: int) -> bool:
    found = [p["spec"] for p in POLICIES if matches(p["spec"]["podSelector"], target.labels)]
    assert found, "a pod without a policy accepts everything"
    return any(
        port in [each["port"] for each in rule["ports"]]
        and any(is_peer(peer, source) for peer in rule["from"])
        for spec in found
        for rule in spec.get("ingress", ())
    )


@pytest.mark.parametrize("target", OURS)
def test_the_sample_allows_what_the_table_has_and_nothing_else(target: str) -> None:
    for name, source in (OURS | THEIRS | OTHERS).items():
        ports = tuple(port for port in PORTS if is_allowed(source, OURS[target], port))
        assert ports == ALLOWED.get((name, target), ()), f"from {name}"


def test_the_sample_is_about_one_cluster() -> None:
    for pod in (*THEIRS.values(), *OTHERS.values()):
        if pod.namespace == NAMESPACE:
            assert not any(matches(p["spec"]["podSelector"], pod.labels) for p in POLICIES)
