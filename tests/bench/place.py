"""The place of a measurement: a namespace with its own operator on the local Kubernetes."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

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


@contextmanager
def place(name: str) -> Iterator[Place]:
    """Create a place and remove it afterwards."""
    if not os.environ.get("KUBECONFIG"):
        provide()
    admin = Kubectl(kubeconfig())
    name = f"bench-{name}-{int(time.time()) % 100000}"
    with temporary_namespace(admin, name) as kubectl, installed(kubectl) as operator:
        yield Place(kubectl, operator, admin.names("nodes"))


class Stage:
    """A place and a cluster that consecutive measurements share; a failed measurement removes them."""

    def __init__(self) -> None:
        """Begin without a cluster: each measurement requests what it needs."""
        self._stack = ExitStack()
        self._place: Place | None = None
        self._cluster: Cluster | None = None

    def place(self) -> Place:
        """Return the place, with or without the cluster."""
        if self._place is None:
            self._place = self._stack.enter_context(place("stage"))
        return self._place

    def cluster(self) -> Cluster:
        """Return the example cluster, ready; earlier measurements may have changed its spec."""
        here = self.place()
        if self._cluster is None:
            self._cluster = Cluster(here.kubectl, example(), here.operator)
            self._cluster.apply()
        self._cluster.wait_ready(180)
        return self._cluster

    def leave(self) -> None:
        """Remove the place; the next measurement gets a new one."""
        self._place = self._cluster = None
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
