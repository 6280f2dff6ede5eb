"""The script that copies volumes of a former cluster, run for real on folders."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support import scripts

SCRIPT = scripts.folder() / "adopt.sh"


class Volumes:
    """The former cluster's volumes, and a new one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.old, self.wal, self.new = root / "source", root / "source-wal", root / "new"
        self.target = self.new / "pg17"
        for folder in ("pg17/base", "pg17/pg_tblspc", "pg17/pg_wal"):
            (self.old / folder).mkdir(parents=True)
        for name, text in (("PG_VERSION", "17\n"), ("postmaster.pid", "1"), ("base/1", "row")):
            (self.old / "pg17" / name).write_text(text)
        (self.old / "pg17/pg_wal/0001").write_text("wal")
        self.wal.mkdir()
        self.new.mkdir()

    def run(self, *arguments: str) -> str:
        """Run the script; return its termination message."""
        own = {"SOURCE": str(self.old), "SOURCE_WAL": str(self.wal), "PGVERSION": "17"}
        own |= {"NAMESPACE": "team", "NAME": "cluster2", "UID_OF_CLUSTER": "u-2"}
        own |= {"TERMINATION_LOG": str(self.root / "log"), "PATH": os.environ["PATH"]}
        command = ["bash", str(SCRIPT), *arguments]
        done = subprocess.run(command, env=own, capture_output=True, text=True, check=False, timeout=20)
        said = (self.root / "log").read_text() if done.returncode else ""
        assert done.returncode in (0, 1), done.stderr
        return said

    def data(self, folder: str = "pg17") -> str:
        return self.run("data", str(self.target), folder)


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    return Volumes(tmp_path)


def test_data_is_copied_and_the_source_is_as_it_was(volumes: Volumes) -> None:
    volumes.target.mkdir()  # a container that started too early
    (volumes.new / "pg17_adopted").mkdir()  # a copy that was cut off
    before = sorted(path.relative_to(volumes.old) for path in volumes.old.rglob("*"))
    assert volumes.data() == ""
    assert (volumes.target / "base/1").read_text() == "row"
    assert (volumes.target / "pg_wal/0001").read_text() == "wal"
    assert not (volumes.target / "postmaster.pid").exists()
    assert volumes.target.stat().st_mode & 0o777 == 0o700
    assert sorted(path.relative_to(volumes.old) for path in volumes.old.rglob("*")) == before
    # Once more: what is there is not touched.
    (volumes.target / "base/1").write_text("newer")
    assert volumes.data() == ""
    assert (volumes.target / "base/1").read_text() == "newer"


def test_wal_of_another_volume_comes_into_the_data(volumes: Volumes) -> None:
    (volumes.old / "pg17/pg_wal/0001").unlink()
    (volumes.old / "pg17/pg_wal").rmdir()
    (volumes.old / "pg17/pg_wal").symlink_to("/pgwal/pg17_wal")
    assert "name it in pgWALVolume" in volumes.data()
    assert not volumes.target.exists()
    (volumes.wal / "pg17_wal").mkdir()
    (volumes.wal / "pg17_wal/0002").write_text("wal")
    assert volumes.data() == ""
    assert not (volumes.target / "pg_wal").is_symlink()
    assert (volumes.target / "pg_wal/0002").read_text() == "wal"


def test_what_cannot_be_is_said(volumes: Volumes) -> None:
    assert "no data directory 'elsewhere': it holds pg17" in volumes.data("elsewhere")
    (volumes.old / "pg17/pg_tblspc/16384").symlink_to("/tablespaces/x")
    assert "tablespaces" in volumes.data()
    (volumes.old / "pg17/PG_VERSION").write_text("16\n")
    assert "is of PostgreSQL 16" in volumes.data()
    assert list(volumes.new.iterdir()) == []
    assert "no repository at 'x'" in volumes.run("repository", str(volumes.new), "x")


def test_a_repository_is_copied(volumes: Volumes) -> None:
    for part in ("archive", "backup"):
        (volumes.old / "repo" / part / "db").mkdir(parents=True)
    (volumes.old / "repo/log").mkdir()
    for _ in range(2):
        assert volumes.run("repository", str(volumes.new), "repo") == ""
    assert sorted(path.name for path in volumes.new.iterdir()) == ["archive", "backup", "owner"]
    mark = (volumes.new / "owner/db").read_text()
    assert mark == "namespace=team\nname=cluster2\nuid=u-2\nsystem-identifier=\n"
    assert (volumes.new / "backup/db").is_dir()
