"""Where things are: the repository, and the cache that holds everything that is built."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("PGOPERATOR_CACHE") or Path.home() / ".cache" / "pgoperator").absolute()

BIN = CACHE / "bin"
IMAGES = CACHE / "images"
RUN = CACHE / "run"
LOGS = CACHE / "log"

MANIFESTS = REPOSITORY / "manifests"


def ours() -> Path:
    """Return the kubeconfig of the local cluster."""
    return RUN / "admin.kubeconfig"
