"""Objects of somebody else in the namespace, with and without the cluster's label: nobody may touch them."""

from tests.support.clusters import Cluster
from tests.support.kubectl import Kubectl, Manifest

_KINDS = "configmaps,secrets,persistentvolumeclaims,statefulsets"


def plant(cluster: Cluster) -> None:
    """Create them."""
    key, _, value = cluster.selector.partition("=")
    for number, labels in enumerate(({}, {key: value})):
        cluster.kubectl.apply(*_objects(f"{cluster.name}-strange{number}", {"app": "stranger"} | labels))


def versions(kubectl: Kubectl) -> dict[str, str]:
    """Return kind and name -> uid and resourceVersion; the volume of a claim and a status do not count."""
    return {
        f"{found['kind']} {found['metadata']['name']}": _version(found)
        for found in kubectl.items(_KINDS, "app=stranger")
    }


def _version(found: Manifest) -> str:
    # The controllers of Kubernetes write to the status of these two.
    exact = found["kind"] in ("ConfigMap", "Secret")
    return f"{found['metadata']['uid']} {found['metadata']['resourceVersion'] if exact else _spec(found)}"


def _spec(found: Manifest) -> str:
    metadata = {key: found["metadata"].get(key) for key in ("labels", "ownerReferences", "deletionTimestamp")}
    return f"{metadata} {found['spec']}"


def _objects(name: str, labels: dict[str, str]) -> list[Manifest]:
    metadata = {"name": name, "labels": labels}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    container = {"name": "none", "image": "none"}
    pods = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    sets = {"serviceName": name, "replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": pods}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"a": "b"}},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": sets},
    ]
