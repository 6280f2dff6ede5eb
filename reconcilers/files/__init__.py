"""Files that run in containers, as they are: real scripts, checked by shellcheck, tested by running them."""

import hashlib
from collections.abc import Iterable
from importlib.resources import files

SCRIPTS = tuple(sorted(entry.name for entry in files(__name__).iterdir() if entry.name.endswith(".sh")))
"""All scripts; they go into one ConfigMap, because they call each other."""


def read(path: str) -> str:
    """Return the text of a file; `path` is relative to this package."""
    return files(__name__).joinpath(path).read_text(encoding="utf-8")


def digest(paths: Iterable[str]) -> str:
    """Sum of names and texts, for an annotation: an edited script rolls out like any other change."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(f"{path}\0{read(path)}\0".encode())
    return total.hexdigest()[:16]
