"""The commands of the documents, unchanged, on a real cluster.

The marked blocks of a page run in their order, in one shell, with the namespace as the current one. The
quickstart makes the cluster that the other pages use; the page that deletes it comes last.
"""

import json
from pathlib import Path

import pytest

from tests.support import documents, reader
from tests.support.clusters import KIND
from tests.support.kubectl import Kubectl, until
from tests.support.operators import Operator

QUICKSTART = "docs/quickstart.md"
HOW_TOS = (
    "docs/operations/status-and-conditions.md",
    "docs/operations/troubleshooting.md",
    "docs/operations/alerts.md",
    "docs/howto/monitor.md",
    "docs/howto/certificates.md",
    "docs/howto/extensions.md",
    "docs/howto/logical-replication.md",
    "docs/howto/upgrade.md",
    "docs/howto/pods-and-volumes.md",
    "docs/howto/local-kubernetes.md",
    "docs/howto/connect.md",
    "docs/howto/pooling.md",
    "docs/howto/users-and-passwords.md",
    "docs/howto/expose.md",
    "docs/howto/change-parameters.md",
    "docs/howto/scale.md",
    "docs/howto/change-a-running-cluster.md",
    "docs/howto/back-up-and-restore.md",
    "docs/howto/delete-and-keep-data.md",
)
ELSEWHERE = {"docs/howto/helm.md", "docs/howto/move-a-database.md"}


@pytest.fixture(scope="module")
def config(kubectl: Kubectl, operator: Operator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kubeconfig with the module's namespace as the current one."""
    return reader.prepare(kubectl, tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="module")
def quickstart(config: Path) -> str:
    """The output of the quickstart, which creates its cluster."""
    return reader.run(QUICKSTART, config)


def test_quickstart(quickstart: str, kubectl: Kubectl) -> None:
    assert "hello" in quickstart
    assert kubectl.get(KIND, "cluster1")["status"]["state"] == "ready"


def is_settled(kubectl: Kubectl) -> bool:
    """Whether nothing of the page before is still going on, as a reader would wait for."""
    found = kubectl.find(KIND, "cluster1")
    leaving = [pod for pod in kubectl.items("pods") if "deletionTimestamp" in pod["metadata"]]
    return found is None or (found["status"]["state"] in {"ready", "paused"} and not leaving)


@pytest.mark.parametrize("page", HOW_TOS)
def test_page(page: str, quickstart: str, config: Path, kubectl: Kubectl) -> None:
    until("the page before is done", lambda: is_settled(kubectl), 180)
    assert reader.run(page, config)


def test_nothing_is_left_after_the_last_page(kubectl: Kubectl, quickstart: str) -> None:
    items = [
        item
        for item in kubectl.items("persistentvolumeclaims,secrets")
        if "deletionTimestamp" not in item["metadata"]
    ]
    labelled = [i for i in items if "postgres-operator.crunchydata.com/cluster" in json.dumps(i["metadata"])]
    assert [item["metadata"]["name"] for item in labelled] == []


def test_every_page_with_marked_blocks_is_run() -> None:
    marked = {
        block.page for page in documents.pages() for block in documents.shell_blocks(page) if block.name
    }
    assert marked == {QUICKSTART, *HOW_TOS, *ELSEWHERE}
