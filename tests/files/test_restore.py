"""restore.sh on a real PostgreSQL and a real pgBackRest: killed at any moment, refused, undone."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconcilers import files

# The text: PostgreSQL's account may not be allowed to enter a clone in a home folder.
SCRIPT = (Path(files.__file__).parent / "restore.sh").read_text()
ID = "0f3c"
MOMENTS = (0.05, 0.2, 0.4, 0.7, 1.0, 1.4)


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


@dataclass
class Place:
    """A volume with a database that has a backup and an archive."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "volume" / "pg"

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "PATH": f"{binaries()}:/usr/bin:/bin",
            "LC_ALL": "C.UTF-8",
            "HOME": str(self.root),
            "PGDATA": str(self.data),
            "PGVERSION": binaries().parts[-2],
            "PGHOST": str(self.root),
            "PGUSER": "postgres",
            "PGBACKREST_CONFIG": str(self.root / "pgbackrest.conf"),
            "RESTORE_ID": ID,
            "REPO": "1",
            "STANZA": "db",
            "WORK": str(self.root / "work"),
            "TERMINATION_LOG": str(self.root / "message"),
            **more,
        }

    def run(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(  # type: ignore[call-overload]
            command,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self.root,
            **identity(),
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return str(done.stdout).strip()

    def start(self) -> None:
        self.run("pg_ctl", "-w", "-D", str(self.data), "-l", str(self.root / "log"), "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-w", "-m", "fast", "-D", str(self.data), "stop", check=False)

    def sql(self, query: str) -> str:
        return self.run("psql", "-XqAt", "-c", query, "postgres")

    def begin(self, *options: str, **more: str) -> subprocess.Popen[bytes]:
        """Start the script in a group of its own, so that all of it can be killed at once."""
        with (self.root / "restore.log").open("ab") as log:
            return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
                ["bash", "-c", SCRIPT, "restore.sh", *options],
                env=self.environment(**more),
                stdout=log,
                stderr=log,
                cwd=self.root,
                start_new_session=True,
                **identity(),
            )

    def restore(self, *options: str, **more: str) -> int:
        return self.begin(*options, **more).wait(60)

    def message(self) -> str:
        return (self.root / "message").read_text()

    def rows(self) -> int:
        """Start what is in place, with archiving as the cluster has it, and count."""
        self.start()
        try:
            return int(self.sql("SELECT count(*) FROM kept"))
        finally:
            self.stop()

    def leftovers(self) -> list[str]:
        return sorted(p.name for p in self.data.parent.iterdir() if p.name.startswith("pg_"))


@pytest.fixture(scope="module")
def template() -> Iterator[Place]:
    """A database with 10 rows in its backup, 20 in its archive and 25 on its disk."""
    place = Place(Path(tempfile.mkdtemp(prefix="restore-")))
    for folder in ("volume", "repo", "spool", "logs"):
        (place.root / folder).mkdir()
    (place.root / "pgbackrest.conf").write_text(
        f"[global]\nrepo1-path={place.root}/repo\nspool-path={place.root}/spool\nlog-path={place.root}/logs\n"
        f"lock-path={place.root}/spool\nstart-fast=y\n"
        f"[db]\npg1-path={place.data}\npg1-socket-path={place.root}\npg1-user=postgres\n"
    )
    account = pwd.getpwnam("postgres")
    if os.getuid() == 0:
        for path in (place.root, *place.root.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid)
    place.run("initdb", "-D", str(place.data), "-U", "postgres", "--auth=trust", "-E", "UTF8")
    settings = f"""
listen_addresses=''
unix_socket_directories='{place.root}'
archive_mode=on
archive_command='pgbackrest --stanza=db archive-push %p'
"""
    with (place.data / "postgresql.conf").open("a") as config:
        config.write(settings)
    place.start()
    place.run("pgbackrest", "--stanza=db", "stanza-create")
    place.sql("CREATE TABLE kept AS SELECT generate_series(1, 10)")
    place.run("pgbackrest", "--stanza=db", "--type=full", "backup")
    place.sql("INSERT INTO kept SELECT generate_series(1, 5)")
    place.sql("SELECT pg_switch_wal()")
    place.sql("INSERT INTO kept SELECT generate_series(1, 5)")
    place.sql("SELECT pg_switch_wal()")
    place.stop()
    for name in ("volume", "repo"):
        subprocess.run(["cp", "-a", place.root / name, place.root / f"kept-{name}"], check=True)
    yield place
    shutil.rmtree(place.root, ignore_errors=True)


def remove(folder: Path) -> None:
    """Remove a folder in which a server of the last test may still be shutting down."""
    until = time.monotonic() + 20
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=time.monotonic() < until)


@pytest.fixture
def place(template: Place) -> Place:
    """The same place, as it was."""
    for name in ("volume", "repo"):
        remove(template.root / name)
        subprocess.run(["cp", "-a", template.root / f"kept-{name}", template.root / name], check=True)
    for name in ("work", "spool/archive", "restore.log", "message"):
        path = template.root / name
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    template.start()
    template.sql("INSERT INTO kept SELECT generate_series(1, 5)")
    template.stop()
    return template


def test_to_the_end_of_the_archive(place: Place) -> None:
    assert place.restore() == 0, (place.root / "restore.log").read_text()
    assert place.message().startswith("restored: timeline 2")
    assert place.leftovers() == [f"pg_before_{ID}"]
    assert place.rows() == 25
    auto = (place.data / "postgresql.auto.conf").read_text()
    assert "restore_command" not in auto
    assert "recovery_target" not in auto
    # What the new timeline began with waits for the cluster's own archiving.
    assert place.run("bash", "-c", f"ls {place.root}/repo/archive/db/*/ -R | grep -c 00000002.history") == "1"


def test_to_a_backup(place: Place) -> None:
    label = (place.root / "repo/backup/db/latest").readlink().name
    assert place.restore("--type=immediate", f"--set={label}") == 0
    assert place.rows() == 10


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_started_again(place: Place, moment: float) -> None:
    first = place.begin()
    time.sleep(moment)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait(10)
    assert place.restore() == 0, (place.root / "restore.log").read_text()
    assert place.restore() == 0
    assert place.leftovers() == [f"pg_before_{ID}"]
    assert place.rows() == 25


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_undone(place: Place, moment: float) -> None:
    before = (place.data / "global/pg_control").read_bytes()
    first = place.begin()
    time.sleep(moment)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait(10)
    assert place.restore("--undo") == 0
    assert place.restore("--undo") == 0
    assert place.leftovers() == []
    assert (place.data / "global/pg_control").read_bytes() == before


def test_undone_after_it_was_complete(place: Place) -> None:
    before = (place.data / "global/pg_control").read_bytes()
    assert place.restore("--type=immediate") == 0
    assert (place.data / "global/pg_control").read_bytes() != before
    assert place.restore("--undo") == 0
    assert (place.data / "global/pg_control").read_bytes() == before
    assert place.leftovers() == []


def test_told_to_stop(place: Place) -> None:
    first = place.begin()
    time.sleep(0.5)
    first.terminate()
    assert first.wait(5) in (0, 143)


def segments(place: Place) -> list[Path]:
    return sorted(p for p in (place.root / "repo/archive").rglob("0*-*.gz"))


def refused(place: Place, *options: str, **more: str) -> str:
    """It must fail for good, say why, and leave the former data as it is."""
    before = (place.data / "global/pg_control").read_bytes()
    assert place.restore(*options, **more) == 1
    assert place.leftovers() == []
    assert (place.data / "global/pg_control").read_bytes() == before
    return place.message()


def test_a_segment_that_is_missing(place: Place) -> None:
    *_, hole, last = segments(place)
    hole.unlink()
    said = refused(place, WAL_LAST=last.name[:24])
    assert "a WAL segment is missing in the archive" in said
    assert hole.name[:24] in said


def test_a_target_that_is_never_reached(place: Place) -> None:
    said = refused(place, "--type=lsn", "--target=FF/0")
    assert "recovery ended before configured recovery target was reached" in said


def test_a_target_before_the_end_of_the_backup(place: Place) -> None:
    backup = json.loads(place.run("pgbackrest", "--stanza=db", "--output=json", "info"))[0]["backup"][-1]
    said = refused(place, "--type=lsn", f"--target={backup['lsn']['start']}", f"--set={backup['label']}")
    assert "before consistent recovery point" in said
    assert "name an earlier one with --set" in said


def test_a_segment_that_cannot_be_read_is_not_the_end(place: Place) -> None:
    segments(place)[-1].write_bytes(b"garbage")
    assert refused(place).startswith("recovery:")


def test_a_backup_that_cannot_be_read(place: Place) -> None:
    for path in (place.root / "repo/backup/db/latest/").rglob("*.gz"):
        if "manifest" not in path.name and path.stat().st_size > 4000:
            path.write_bytes(b"garbage")
    assert "pgbackrest restore: " in refused(place)


def test_what_cannot_be_removed_at_once_is_removed_a_moment_later(place: Place) -> None:
    """As when a process of the server that has given up still writes."""
    tool, tried = place.root / "tools/rm", place.root / "tried"
    tool.parent.mkdir()
    # The third one is that of what has been restored.
    tool.write_text(f'#!/bin/bash\necho >>{tried}\n[ "$(wc -l <{tried})" != 3 ] && exec /usr/bin/rm "$@"\n')
    tool.chmod(0o755)
    path = f"{tool.parent}:{place.environment()['PATH']}"
    assert "20200101-000000F is not valid" in refused(place, "--set=20200101-000000F", PATH=path)
    assert tried.read_text().count("\n") > 3


def test_a_backup_that_is_not_there(place: Place) -> None:
    assert "20200101-000000F is not valid" in refused(place, "--set=20200101-000000F")


def test_another_major_version(place: Place) -> None:
    assert "spec.postgresVersion is 9" in refused(place, PGVERSION="9")


def test_over_the_former_data(place: Place) -> None:
    assert place.restore("--delta") == 0, (place.root / "restore.log").read_text()
    assert place.leftovers() == []
    assert place.rows() == 25


def test_into_an_empty_volume(place: Place) -> None:
    shutil.rmtree(place.data)
    assert place.restore() == 0, (place.root / "restore.log").read_text()
    assert place.leftovers() == []
    assert place.rows() == 25


def move_log(place: Place, folder: Path) -> Path:
    """Put the log into a folder on another volume, as `database.sh` does."""
    place.run("mkdir", "-p", str(folder.parent))
    place.run("mv", str(place.data / "pg_wal"), str(folder))
    place.run("ln", "-s", str(folder), str(place.data / "pg_wal"))
    return folder


@pytest.fixture
def log(place: Place) -> Iterator[Path]:
    """The place of a log that has a volume of its own."""
    yield move_log(place, place.root / "wal/pg_wal")
    shutil.rmtree(place.root / "wal")


def test_a_log_on_its_own_volume_goes_with_the_former_data(place: Place, log: Path) -> None:
    before = sorted(path.name for path in log.iterdir())
    for _ in range(2):
        assert place.restore(WAL_DIRECTORY=str(log)) == 0, (place.root / "restore.log").read_text()
    former = place.data.with_name(f"pg_before_{ID}")
    assert sorted(path.name for path in (former / "pg_wal").iterdir()) == before
    assert not log.exists()
    assert not (place.data / "pg_wal").is_symlink()
    move_log(place, log)
    assert place.rows() == 25
    for _ in range(2):
        assert place.restore("--undo", WAL_DIRECTORY=str(log)) == 0
    assert place.leftovers() == []
    assert (place.data / "pg_wal").readlink() == log
    assert sorted(path.name for path in log.iterdir()) == before
    assert [path.name for path in log.parent.iterdir()] == ["pg_wal"]
    assert place.rows() == 25


def test_over_the_former_data_with_a_log_on_its_own_volume(place: Place, log: Path) -> None:
    assert place.restore("--delta", WAL_DIRECTORY=str(log)) == 0, (place.root / "restore.log").read_text()
    assert not (place.data / "pg_wal").is_symlink()
    assert not log.exists()
    assert place.rows() == 25


def test_tablespaces_are_restored_in_their_places(place: Place) -> None:
    folder = place.root / "tablespaces"
    place.run("mkdir", "-p", str(folder / "cold/data"))
    place.start()
    place.sql(f"CREATE TABLESPACE cold LOCATION '{folder}/cold/data'")
    place.sql("CREATE TABLE stored TABLESPACE cold AS SELECT generate_series(1, 7)")
    place.run("pgbackrest", "--stanza=db", "--type=full", "backup")
    place.sql("INSERT INTO stored SELECT 8")
    place.sql("SELECT pg_switch_wal()")
    place.sql("DROP TABLE stored")
    place.stop()
    label = (place.root / "repo/backup/db/latest").readlink().name
    options = ("--type=immediate", f"--set={label}")
    assert place.restore(*options, TABLESPACES=str(folder)) == 0, (place.root / "restore.log").read_text()
    place.start()
    try:
        assert place.sql("SELECT count(*) FROM stored") == "7"
    finally:
        place.stop()
        shutil.rmtree(folder)


def test_one_that_stands_still_ends_and_says_so(place: Place) -> None:
    # In the place of pgBackRest: it waits for ever, as one does whose volume hangs.
    silent = place.root / "silent"
    silent.mkdir()
    (silent / "pgbackrest").write_text("#!/bin/bash\nexec tail -f /dev/null\n")
    (silent / "pgbackrest").chmod(0o755)
    before = (place.data / "global/pg_control").read_bytes()
    path = f"{silent}:{place.environment()['PATH']}"
    try:
        first = place.begin(PATH=path, STALL_SECONDS="3")
        assert first.wait(60) == 143
        assert "stands still" in place.message()
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        shutil.rmtree(silent)
    assert (place.data / "global/pg_control").read_bytes() == before
    # The next one goes on from there.
    assert place.restore(STALL_SECONDS="20") == 0, (place.root / "restore.log").read_text()
