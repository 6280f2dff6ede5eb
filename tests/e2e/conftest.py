"""End-to-end tests: real nodes, the operator from its bundle, a namespace for each module."""

import os
import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from local import cluster as kubernetes
from tests.support.audit import AuditLog
from tests.support.clients import Client
from tests.support.clusters import Cluster, example
from tests.support.installation import installed
from tests.support.kubectl import Kubectl, Manifest, kubeconfig
from tests.support.namespaces import temporary_namespace
from tests.support.operators import Operator, provide

_HERE = Path(__file__).parent
_numbers = count(1)


# They break nodes, API servers and operators or wait for backups: long, and run by a target of their own.
FAULTS = {
    "test_backup",
    "test_backup_faults",
    "test_exporters",
    "test_extensions",
    "test_faults",
    "test_faults_synchronous",
    "test_from_volumes",
    "test_helm",
    "test_interrupted",
    "test_monitoring",
    "test_pmm",
    "test_pods",
    "test_proxy_tls",
    "test_restore",
    "test_restore_new",
    "test_rolling",
    "test_volumes",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            if item.path.stem in FAULTS:
                item.add_marker(pytest.mark.faults)


@pytest.fixture(scope="session")
def admin() -> Kubectl:
    """kubectl of the administrator; the local Kubernetes is started when it is not there."""
    if not os.environ.get("KUBECONFIG"):
        provide()
    kubectl = Kubectl(kubeconfig())
    kubectl.run("version")
    return kubectl


@pytest.fixture(scope="module")
def kubectl(admin: Kubectl, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """kubectl in a namespace of the module's own, in which pods must be restricted."""
    name = re.sub(
        r"[^a-z0-9]+", "-", f"e2e-{request.module.__name__.rpartition('.')[2].removeprefix('test_')}"
    )
    with temporary_namespace(admin, f"{name}-{os.getpid() % 10000}{next(_numbers)}") as own:
        yield own


@pytest.fixture(scope="module")
def operator(kubectl: Kubectl) -> Iterator[Operator]:
    """The operator, installed from manifests/bundle.yaml into the module's namespace."""
    with installed(kubectl) as found:
        yield found


@pytest.fixture(scope="module")
def nodes(admin: Kubectl) -> list[str]:
    """Names of the nodes."""
    return admin.names("nodes")


@pytest.fixture(scope="module")
def client_on(kubectl: Kubectl) -> Callable[[str], Client]:
    """Start a client on a node, once."""
    return lambda node: Client.start(kubectl, node)


@pytest.fixture(scope="module")
def client(client_on: Callable[[str], Client], nodes: list[str]) -> Client:
    """A client on some node."""
    return client_on(nodes[0])


@pytest.fixture(scope="module")
def new_cluster(kubectl: Kubectl, operator: Operator) -> Callable[..., Cluster]:
    """Make a cluster from a manifest, by default the example as it is; it is not applied yet."""

    def make(manifest: Manifest | None = None) -> Cluster:
        return Cluster(kubectl, manifest or example(), operator)

    return make


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster], client: Client) -> Cluster:
    """The example cluster, ready; the tests of a module share it and leave it as they found it."""
    made = new_cluster()
    made.apply()
    made.wait_ready()
    return made


@pytest.fixture
def audit() -> AuditLog:
    """The audit log from now on."""
    return AuditLog(kubernetes.SERVER.audit_log)
