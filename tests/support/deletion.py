"""The objects of a cluster that somebody may delete by mistake."""

from pgoperator import naming
from tests.support.clusters import Cluster
from tests.support.kubectl import until

# Pods and volume claims have tests of their own. A Job that has ended is history.
KINDS = (
    "services",
    "endpoints",
    "configmaps",
    "secrets",
    "serviceaccounts",
    "roles",
    "rolebindings",
    "poddisruptionbudgets",
    "deployments",
    "statefulsets",
)
REPLACE_PODS = {"deployments", "statefulsets", "serviceaccounts"}
"""Kubernetes deletes the pods of these objects with them; a token ends with its account."""


def objects(cluster: Cluster, kinds: str) -> dict[tuple[str, str], str]:
    """Kind and name of the cluster's objects -> uid.

    Patroni writes one of them for each switchover, and not before the next.
    """
    return {
        (found["kind"], found["metadata"]["name"]): found["metadata"]["uid"]
        for found in cluster.kubectl.items(kinds, cluster.selector)
        if found["metadata"]["name"] != f"{naming.patroni_scope(cluster.name)}-failover"
    }


def delete(cluster: Cluster, kind: str, name: str, uid: str) -> None:
    """Delete an object and wait until the operator has created it again."""
    cluster.kubectl.run("delete", kind, name, "--wait=false")

    def is_back() -> bool:
        found = cluster.kubectl.find(kind, name)
        return found is not None and found["metadata"]["uid"] != uid

    until(f"{kind}/{name} exists again", is_back, 60, cluster.explain)
