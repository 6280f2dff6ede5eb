"""Instances of the default cluster, as the API server would show them."""

from itertools import islice

from pgoperator import labels, naming
from pgoperator.kube.manifest import Manifest
from tests.support.views import NAMESPACE

SET = "instance1"
NAMES = list(islice(naming.instance_names("cluster1", SET), 6))


def stateful_set(name: str) -> Manifest:
    own = labels.instance("cluster1", SET, name) | {labels.DATA: labels.DATA_POSTGRES}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": own}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata}


def pod(
    name: str, role: str = "replica", *, ready: bool = True, status: str = '{"state": "streaming"}'
) -> Manifest:
    own = labels.instance("cluster1", SET, name) | {labels.DATA: labels.DATA_POSTGRES, labels.ROLE: role}
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{name}-0",
            "namespace": NAMESPACE,
            "labels": own,
            "annotations": {"status": status},
        },
        "status": {"conditions": [condition]},
    }


def volume(name: str, *, superseded: bool = False) -> Manifest:
    own = labels.instance("cluster1", SET, name) | {labels.ROLE: labels.ROLE_PGDATA}
    metadata = {"name": f"{name}-pgdata", "namespace": NAMESPACE, "labels": own, "annotations": {}}
    if superseded:
        metadata["annotations"] = {labels.SUPERSEDED: "restore1"}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata}
