"""Run the commands of the documents unchanged."""

import os
import subprocess
from pathlib import Path

from local import bins, images
from local.paths import BIN
from tests.support import documents
from tests.support.kubectl import Kubectl
from tests.support.operators import DEPLOYMENT

MINUTES = 12
# A failed command also ends the background jobs of the page.
END = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"


def prepare(kubectl: Kubectl, folder: Path) -> Path:
    """Return a kubeconfig with the namespace as the current one, and build Helm."""
    bins.build(["helm"])
    path = folder / "kubeconfig"
    path.write_text(Path(kubectl.config).read_text(encoding="utf-8"), encoding="utf-8")
    path.chmod(0o600)
    command = ["kubectl", f"--kubeconfig={path}", "config", "set-context", "--current"]
    subprocess.run([*command, f"--namespace={kubectl.namespace}"], check=True, capture_output=True)
    return path


def run(page: str, config: Path) -> str:
    """Run the marked blocks of a page in order, in one shell, and return their output."""
    marked = [block for block in documents.shell_blocks(page) if block.name]
    assert marked, f"{page} has no marked block"
    if os.environ.get("E2E_OPERATOR") == "host":
        marked = [block for block in marked if f"deployment/{DEPLOYMENT}" not in block.text]
    script = END + "\n".join(f"echo '== {block.page}: {block.name}'\n{block.text}" for block in marked)
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
