"""Where a measurement takes place: a namespace with an operator of its own on the local Kubernetes."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.clients import Client
from tests.support.clusters import Cluster, example
from tests.support.installation import installed
from tests.support.kubectl import Kubectl, kubeconfig
from tests.support.namespaces import temporary_namespace
from tests.support.operators import Operator, provide


@dataclass(frozen=True)
class Place:
    """A namespace, its operator and its nodes."""

    kubectl: Kubectl
    operator: Operator
    nodes: list[str]

    def client(self, node: str = "") -> Client:
        """Start a client on a node."""
        return Client.start(self.kubectl, node or self.nodes[0])

    def cluster(self) -> Cluster:
        """Create the example and wait for it."""
        made = Cluster(self.kubectl, example(), self.operator)
        made.apply()
        made.wait_ready()
        return made


@contextmanager
def place(name: str) -> Iterator[Place]:
    """Make one; it is removed afterwards."""
    if not os.environ.get("KUBECONFIG"):
        provide()
    admin = Kubectl(kubeconfig())
    name = f"bench-{name}-{int(time.time()) % 100000}"
    with temporary_namespace(admin, name) as kubectl, installed(kubectl) as operator:
        yield Place(kubectl, operator, admin.names("nodes"))
