"""What Kubernetes and Patroni show of a cluster: pods, StatefulSets, Endpoints, claims."""

import json
from typing import Any

from pgoperator import labels, naming
from pgoperator.kube.manifest import Manifest
from tests.support.views import NAMESPACE

C, SET = "cluster1", "instance1"


def condition(kind: str, status: str = "True", **more: Any) -> Manifest:
    """A condition of a pod."""
    return {"type": kind, "status": status, **more}


def pod(
    name: str,
    own: dict[str, str],
    *,
    ready: bool = True,
    conditions: list[Manifest] | None = None,
    containers: list[Manifest] | None = None,
    **metadata: Any,
) -> Manifest:
    """A pod with these labels."""
    found = [condition("Ready", "True" if ready else "False")] if conditions is None else conditions
    status: Manifest = {"conditions": found}
    if containers is not None:
        status["containerStatuses"] = containers
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": f"uid-of-{name}",
            "labels": labels.of_cluster(C) | own,
            "creationTimestamp": "2026-01-02T03:00:00Z",
            **metadata,
        },
        "status": status,
    }


def instance_pod(name: str, role: str = "replica", state: str = "streaming", **more: Any) -> Manifest:
    """The pod of an instance, with Patroni's label and annotation."""
    own = labels.instance(C, SET, name) | {labels.DATA: labels.DATA_POSTGRES, labels.ROLE: role}
    says = json.dumps({"state": state, "role": role, "xlog_location": 42, "timeline": 1, "version": "4.0.5"})
    return pod(naming.pod(name), own, annotations={"status": says}, **more)


def stateful_set(name: str) -> Manifest:
    """The StatefulSet of an instance."""
    own = labels.instance(C, SET, name) | {labels.DATA: labels.DATA_POSTGRES}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": own}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata}


def pooler_pod(number: int, *, ready: bool = True) -> Manifest:
    """A pod of pgBouncer."""
    return pod(f"{C}-pgbouncer-x-{number}", labels.pgbouncer(C), ready=ready)


def repo_host_pod(*, ready: bool = True) -> Manifest:
    """The pod of the repository host."""
    return pod(naming.pod(naming.repo_host(C)), labels.repo_host(C), ready=ready)


def endpoints(name: str, annotations: dict[str, str]) -> Manifest:
    """Endpoints in which Patroni keeps something."""
    own = labels.of_cluster(C) | {labels.PATRONI: naming.patroni_scope(C)}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": own, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata}


def leader(instance: str, **more: str) -> Manifest:
    """Patroni's lock."""
    return endpoints(naming.patroni_scope(C), {"leader": naming.pod(instance), **more})


def bootstrapped() -> Manifest:
    """Patroni's configuration of a cluster that has been initialised."""
    return endpoints(naming.patroni_config(C), {"initialize": "7300000000000000001", "config": '{"ttl": 30}'})


def claim(name: str, own: dict[str, str], phase: str = "Bound") -> Manifest:
    """A volume claim."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels.of_cluster(C) | own},
        "spec": {"volumeName": f"pv-{name}"},
        "status": {"phase": phase},
    }
