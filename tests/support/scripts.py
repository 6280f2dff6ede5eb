"""The scripts as containers see them: all in one folder, whatever account runs them."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from reconcilers import files


@cache
def folder() -> Path:
    """Copies of all scripts, as in the ConfigMap; removed when the process ends."""
    place = Path(tempfile.mkdtemp(prefix="pgoperator-scripts-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    place.chmod(0o755)
    for name in files.SCRIPTS:
        script = place / name
        script.write_text(files.read(name), encoding="utf-8")
        script.chmod(0o555)
    return place
