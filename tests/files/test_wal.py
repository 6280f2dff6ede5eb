"""wal.sh, run by database.sh: WAL moves to its volume and back, killed at any step."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.files.test_scripts import Container

SEGMENT = "000000010000000000000001"
STEPS = ("mv", "ln", "cp", "rm", "rmdir", "sync", "mkdir")


class Database(Container):
    """A container with data and an empty WAL volume."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.wal = root / "pgwal/pg99_wal"
        self.wal.parent.mkdir()
        (self.data / "pg_wal/archive_status").mkdir(parents=True)
        (self.data / "PG_VERSION").write_text("99\n")
        (self.data / "pg_wal" / SEGMENT).write_text("x")
        # The n-th program that changes files does not run, and its caller is killed.
        for name in STEPS:
            self.program(
                name,
                f"n=$(($(cat {root}/count 2>/dev/null) + 1)); echo $n >{root}/count\n"
                'if [ "$n" = "${CRASH-}" ]; then kill -9 "$PPID"; exit 1; fi\n'
                f'exec {shutil.which(name)} "$@"',
            )

    def start(self, *, used: bool, crash: int = 0) -> subprocess.CompletedProcess[str]:
        (self.root / "count").write_text("0")
        environment = {"WAL_DIRECTORY": str(self.wal)} if used else {}
        return self.run("database.sh", CRASH=str(crash), **environment)

    def check(self, *, used: bool) -> None:
        """Assert that the WAL is complete, in the right place, and only there."""
        log = self.data / "pg_wal"
        assert log.is_symlink() is used
        assert log.resolve() == (self.wal if used else log)
        assert sorted(path.name for path in log.iterdir()) == [SEGMENT, "archive_status"]
        assert (log / SEGMENT).read_text() == "x"
        assert sorted(path.name for path in self.data.iterdir()) == ["PG_VERSION", "pg_wal"]


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path)


def test_there_and_back(database: Database) -> None:
    for used in (True, True, False, False, True):
        done = database.start(used=used)
        assert done.returncode == 0, done.stderr
        database.check(used=used)
    assert [path.name for path in database.wal.parent.iterdir()] == ["pg99_wal"]


@pytest.mark.parametrize("used", [True, False])
def test_killed_at_any_step(tmp_path: Path, used: bool) -> None:
    """Before and after each program that changes files."""
    for crash in range(1, 30):
        (tmp_path / str(crash)).mkdir()
        database = Database(tmp_path / str(crash))
        if not used:
            database.start(used=True)
        killed = database.start(used=used, crash=crash)
        again = database.start(used=used)
        assert again.returncode == 0, again.stderr
        database.check(used=used)
        if killed.returncode == 0:
            assert crash > 5
            return
    pytest.fail("it never ended")


def test_a_log_whose_volume_is_gone_is_named(database: Database) -> None:
    database.start(used=True)
    shutil.rmtree(database.wal.parent)
    done = database.start(used=False)
    assert done.returncode == 1
    assert f"is in {database.wal}, whose volume is not mounted" in database.log.read_text()


def test_a_volume_that_is_too_small_is_named_and_nothing_is_lost(database: Database) -> None:
    database.program("cp", 'echo "cp: No space left on device" >&2; exit 1')
    done = database.start(used=True)
    assert done.returncode == 1
    assert "No space left on device" in database.log.read_text()
    database.check(used=False)
    assert list(database.wal.parent.iterdir()) == []


def test_what_is_on_the_volume_already_is_put_aside(database: Database) -> None:
    database.wal.mkdir()
    (database.wal / "other").write_text("y")
    assert database.start(used=True).returncode == 0
    database.check(used=True)
    [aside] = [path for path in database.wal.parent.iterdir() if path != database.wal]
    assert (aside / "other").read_text() == "y"


def test_a_new_database_finds_no_log_of_another(database: Database) -> None:
    shutil.rmtree(database.data)
    database.wal.mkdir()
    (database.wal / "other").write_text("y")
    assert database.start(used=True).returncode == 0
    assert not database.wal.exists()


def test_a_log_of_percona_operator_stays_in_the_data_volume(database: Database) -> None:
    elsewhere = database.data.parent / "pg99_wal"
    shutil.move(database.data / "pg_wal", elsewhere)
    (database.data / "pg_wal").symlink_to(elsewhere)
    assert database.start(used=False).returncode == 0
    assert (database.data / "pg_wal").resolve() == elsewhere
    assert database.start(used=True).returncode == 0
    database.check(used=True)
    assert not elsewhere.exists()


def test_a_tablespace_without_its_volume_is_named(database: Database) -> None:
    (database.data / "pg_tblspc").mkdir()
    place = database.root / "tablespaces/cold"
    (database.data / "pg_tblspc/16384").symlink_to(place / "data")
    done = database.run("database.sh", TABLESPACES=str(place.parent))
    assert done.returncode == 1
    assert f"has a tablespace in {place}/data, whose volume is not mounted" in database.log.read_text()
    place.mkdir(parents=True)
    assert database.run("database.sh", TABLESPACES=str(place.parent)).returncode == 0
