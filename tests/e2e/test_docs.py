"""The commands of the documents, as they stand, on a real cluster.

The marked blocks of a page run in their order, in one shell, with the namespace as the current one. The
quickstart makes the cluster that the other pages use; the page that deletes it comes last.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from local import bins, images
from local.paths import BIN
from tests.support import documents
from tests.support.clusters import KIND
from tests.support.kubectl import Kubectl
from tests.support.operators import Operator

QUICKSTART = "docs/quickstart.md"
HOW_TOS = (
    "docs/operations/troubleshooting.md",
    "docs/howto/connect.md",
    "docs/howto/users-and-passwords.md",
    "docs/howto/expose.md",
    "docs/howto/change-parameters.md",
    "docs/howto/scale.md",
    "docs/howto/change-a-running-cluster.md",
    "docs/howto/back-up-and-restore.md",
    "docs/howto/helm.md",
    "docs/howto/delete-and-keep-data.md",
)
MINUTES = 12


def run(page: str, config: Path) -> str:
    """Run the marked blocks of a page and return what they print."""
    marked = [block for block in documents.shell_blocks(page) if block.name]
    assert marked, f"{page} has no marked block"
    script = "\n".join(f"echo '== {block.page}: {block.name}'\n{block.text}" for block in marked)
    done = subprocess.run(
        ["bash", "-euo", "pipefail"],
        input=script,
        cwd=documents.ROOT,
        env=os.environ
        | {
            "KUBECONFIG": str(config),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "OPERATOR_IMAGE": images.OPERATOR,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=MINUTES * 60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def config(kubectl: Kubectl, operator: Operator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kubeconfig of the reader's own, with the module's namespace as the current one; and Helm."""
    bins.build(["helm"])
    path = tmp_path_factory.mktemp("reader") / "kubeconfig"
    path.write_text(Path(kubectl.config).read_text(encoding="utf-8"), encoding="utf-8")
    path.chmod(0o600)
    command = ["kubectl", f"--kubeconfig={path}", "config", "set-context", "--current"]
    subprocess.run([*command, f"--namespace={kubectl.namespace}"], check=True, capture_output=True)
    return path


@pytest.fixture(scope="module")
def quickstart(config: Path) -> str:
    """What the quickstart prints; afterwards its cluster is there."""
    return run(QUICKSTART, config)


def test_quickstart(quickstart: str, kubectl: Kubectl) -> None:
    assert "hello" in quickstart
    assert kubectl.get(KIND, "cluster1")["status"]["state"] == "ready"


@pytest.mark.parametrize("page", HOW_TOS)
def test_page(page: str, quickstart: str, config: Path) -> None:
    assert run(page, config)


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
    assert marked == {QUICKSTART, *HOW_TOS}
