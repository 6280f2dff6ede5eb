"""Paths in the repository and in the cache, which holds everything that is built."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("PGOPERATOR_CACHE") or Path.home() / ".cache" / "pgoperator").absolute()


def _instance() -> int:
    text = os.environ.get("PGOPERATOR_INSTANCE") or "0"
    if len(text) != 1 or not text.isdecimal():
        raise SystemExit(f"PGOPERATOR_INSTANCE must be a digit, not {text!r}")
    return int(text)


# Local clusters with different numbers can run at the same time; they share only programs and images.
INSTANCE = _instance()
_NUMBER = str(INSTANCE or "")

BIN = CACHE / "bin"
IMAGES = CACHE / "images"
RUN = CACHE / f"run{_NUMBER}"
NODES = CACHE / f"nodes{_NUMBER}"
LOGS = CACHE / "log"

MANIFESTS = REPOSITORY / "manifests"


def ours() -> Path:
    """Return the kubeconfig of the local cluster."""
    return RUN / "admin.kubeconfig"
