"""A namespace for one test that enforces the restricted Pod Security Standard."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.clusters import KIND
from tests.support.kubectl import Kubectl, KubectlError

RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}


@contextmanager
def temporary_namespace(admin: Kubectl, name: str) -> Iterator[Kubectl]:
    """Create the namespace and delete it afterwards, unless E2E_KEEP is set."""
    kubectl = admin.within(name)
    metadata = {"name": name, "labels": RESTRICTED}
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    try:
        yield kubectl
    finally:
        if not os.environ.get("E2E_KEEP"):
            kubectl.delete("namespace", name)


def empty(kubectl: Kubectl) -> None:
    """Delete the clusters of a namespace while their operator runs; remove finalizers after 40 s."""
    if os.environ.get("E2E_KEEP"):
        return
    kubectl.run("delete", KIND, "--all", "--wait=false", "--ignore-not-found")
    try:
        kubectl.run("wait", "--for=delete", KIND, "--all", "--timeout=40s")
    except KubectlError:
        for name in kubectl.names(KIND):
            kubectl.patch(KIND, name, {"metadata": {"finalizers": None}})
    # A backup that was running keeps its finalizer when the operator stops before it has removed it.
    for backup in kubectl.items("perconapgbackups"):
        if backup["metadata"].get("finalizers"):
            kubectl.patch("perconapgbackups", backup["metadata"]["name"], {"metadata": {"finalizers": None}})
