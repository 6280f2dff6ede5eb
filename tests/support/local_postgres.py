"""PostgreSQL's programs on this machine, and the account that may run them."""

import os
import pwd
import shutil
from pathlib import Path

import pytest


def binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    if not found or shutil.which("pgbackrest") is None:
        pytest.fail("these tests need apt-get install postgresql pgbackrest")
    return found[-1].parent


def identity() -> dict[str, object]:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    account = pwd.getpwnam("postgres")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
