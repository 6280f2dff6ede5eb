"""The virtual environment of the checks and tests, in the cache."""

import hashlib
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from local import host
from local.console import step
from local.paths import CACHE, REPOSITORY
from local.shell import lock, logged, succeeds, write

FOLDER = CACHE / "venv"
_REQUIREMENTS = REPOSITORY / "requirements" / "dev.txt"
_STAMP = FOLDER / ".requirements"


def ensure() -> Path:
    """Create the environment or update it to requirements/dev.txt; return its folder."""
    wanted = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()
    if _is_current(wanted):
        return FOLDER
    with lock("venv"):
        if _is_current(wanted):
            return FOLDER
        python = FOLDER / "bin" / "python"
        if not succeeds([python, "-m", "pip", "--version"]):
            _create()
        with step("install the tools of requirements/dev.txt"):
            install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            logged([*install, "--require-hashes", f"--requirement={_REQUIREMENTS}"], "venv")
        write(_STAMP, wanted)
    return FOLDER


def _is_current(wanted: str) -> bool:
    current = _STAMP.is_file() and _STAMP.read_text() == wanted
    return current and succeeds([FOLDER / "bin" / "python", "-c", ""])


def _create() -> None:
    if find_spec("ensurepip") is None:  # on Debian it is in a separate package
        name = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        host.install_packages({name: f"{sys.base_prefix}/lib/{name.removesuffix('-venv')}/ensurepip"})
    with step("create a virtual environment"):
        shutil.rmtree(FOLDER, ignore_errors=True)
        logged([sys.executable, "-m", "venv", FOLDER], "venv")
