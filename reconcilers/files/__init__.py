"""Files that run in containers, as they are: real scripts, checked by shellcheck, tested by running them.

The folders are the containers that run them: `database`, `pgbackrest` (server and Jobs), `restore` (Jobs that
fill a data volume), `pgbouncer`, `pmm`; `common` is for several. In the cluster they lie in one ConfigMap,
under their bare names, because they call each other.
"""

from collections.abc import Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable

from pgoperator import digest as digests


def _scripts() -> dict[str, Traversable]:
    folders = (entry for entry in files(__name__).iterdir() if entry.is_dir())
    found = [entry for folder in folders for entry in folder.iterdir() if entry.name.endswith(".sh")]
    return {entry.name: entry for entry in sorted(found, key=lambda entry: entry.name)}


_PATHS = _scripts()
SCRIPTS = tuple(_PATHS)
"""The names of all scripts; no two folders have one of the same name."""


def read(name: str) -> str:
    """Return the text of a script; KeyError when there is none of this name."""
    return _PATHS[name].read_text(encoding="utf-8")


def path(name: str) -> Traversable:
    """Where a script lies in this package."""
    return _PATHS[name]


def digest(names: Iterable[str]) -> str:
    """Digest of names and texts, for an annotation: an edited script rolls out like any other change."""
    return digests.digest("".join(f"{name}\0{read(name)}\0" for name in sorted(names)), 16)
