"""End-to-end tests: real nodes, the operator from its bundle, a namespace for each module."""

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, count
from pathlib import Path

import pytest

from local import cluster as kubernetes
from local.shell import lock
from tests.support import s3_faults
from tests.support.audit import AuditLog
from tests.support.clients import Client
from tests.support.clusters import Cluster, example
from tests.support.installation import installed
from tests.support.kubectl import Kubectl, Manifest, kubeconfig
from tests.support.namespaces import temporary_namespace
from tests.support.operators import Operator, provide
from tests.support.s3 import S3, server

_HERE = Path(__file__).parent
_numbers = count(1)


# These modules break nodes or the API server, or measure an idle cluster: they run alone. So do
# test_rolling and test_driver_load: clients wait for ten seconds, in which a switchover beside other tests
# may not end.
ALONE = {
    "test_driver_load",
    "test_faults",
    "test_faults_synchronous",
    "test_lives",
    "test_planned_ends",
    "test_quiet",
    "test_rolling",
    "test_without_api_server",
}
# Three modules run at a time. The longest modules start first, so that all lanes end together.
# Each run ends with the duration of each module.
LONG = (
    "test_restore_new",
    "test_backup_faults",
    "test_repository_gone",
    "test_backup",
    "test_monitoring",
    "test_restore",
    "test_restore_interrupted",
    "test_docs",
    "test_restore_left_alone",
    "test_deleted_objects",
    "test_restore_faults",
    "test_interrupted",
    "test_backup_schedule",
    "test_proxy_tls",
    "test_change",
)


def pytest_configure() -> None:
    here = {path.stem for path in _HERE.glob("test_*.py")}
    if unknown := {*ALONE, *LONG} - here:
        raise pytest.UsageError(f"{__file__} names modules that are not there: {sorted(unknown)}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: number for number, name in enumerate(LONG)}
    # The tests of restore.sh (tests/files) are one long module.
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONG)) if _is_ours(item) else -1)
    for item in filter(_is_ours, items):
        item.add_marker(pytest.mark.e2e)
        if item.path.stem in ALONE:
            item.add_marker(pytest.mark.alone)


def _is_ours(item: pytest.Item) -> bool:
    return _HERE in item.path.parents


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Print a failure at once: pytest prints it at the end, which a run that is cut off does not reach."""
    if report.failed and not os.environ.get("PYTEST_XDIST_WORKER"):
        sys.stderr.write(f"\n{report.nodeid} failed:\n{report.longreprtext[-30000:]}\n")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    seconds: Counter[str] = Counter()
    for report in chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            seconds[report.nodeid.partition("::")[0]] += round(report.duration)
    if seconds:
        terminalreporter.section("seconds of each module")
    for name, total in seconds.most_common():
        terminalreporter.write_line(f"{total:5} {name}")


@pytest.fixture(scope="session")
def admin() -> Kubectl:
    """kubectl of the administrator; the first worker starts the local Kubernetes if it does not run."""
    if not os.environ.get("KUBECONFIG"):
        with lock("tests"):
            provide()
    kubectl = Kubectl(kubeconfig())
    kubectl.run("version")
    return kubectl


@pytest.fixture(scope="module")
def kubectl(admin: Kubectl, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """kubectl in a namespace of the module that enforces the restricted Pod Security Standard."""
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
    """Start one client for each node."""
    return lambda node: Client.start(kubectl, node)


@pytest.fixture(scope="module")
def client(client_on: Callable[[str], Client], nodes: list[str]) -> Client:
    """A client on the first node."""
    return client_on(nodes[0])


@pytest.fixture(scope="module")
def new_cluster(kubectl: Kubectl, operator: Operator) -> Callable[..., Cluster]:
    """Return a cluster for a manifest, by default the unchanged example; it is not applied yet.

    A manifest gets a faster compression than pgBackRest's default, unless it has one.
    """

    def make(manifest: Manifest | None = None) -> Cluster:
        if manifest and (settings := manifest["spec"].get("backups", {}).get("pgbackrest")):
            settings["global"] = {"compress-type": "lz4"} | settings.get("global", {})
        return Cluster(kubectl, manifest or example(), operator)

    return make


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster], client: Client) -> Cluster:
    """The example cluster, ready; the tests of a module share it and leave it unchanged."""
    made = new_cluster()
    made.apply()
    made.wait_ready()
    return made


@pytest.fixture
def audit() -> AuditLog:
    """The audit log from this moment."""
    return AuditLog(kubernetes.SERVER.audit_log)


@pytest.fixture(scope="module")
def s3(kubectl: Kubectl) -> Iterator[S3]:
    """An object store for the clusters of the module's namespace."""
    with server(kubectl) as found:
        yield found


@pytest.fixture(scope="module")
def store(s3: S3) -> Iterator[s3_faults.Proxy]:
    """A proxy in front of the store that injects faults."""
    with s3_faults.proxy(s3) as found:
        yield found
