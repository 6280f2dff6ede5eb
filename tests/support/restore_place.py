"""A volume with a database, its repository, and restore.sh: real PostgreSQL, real pgBackRest."""

import contextlib
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

from tests.support import scripts
from tests.support.local_postgres import binaries, identity

ID = "0f3c"


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

    def begin(self, *options: str, script: str = "restore.sh", **more: str) -> subprocess.Popen[bytes]:
        """Start the script in a group of its own, so that all of it can be killed at once."""
        with (self.root / "restore.log").open("ab") as log:
            return subprocess.Popen(  # type: ignore[call-overload]
                ["bash", str(scripts.folder() / script), *options],
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
        """Start the server that is in place, with the cluster's archiving, and count the rows."""
        self.start()
        try:
            return int(self.sql("SELECT count(*) FROM kept"))
        finally:
            self.stop()

    def leftovers(self) -> list[str]:
        return sorted(p.name for p in self.data.parent.iterdir() if p.name.startswith("pg_"))


def with_backup() -> Iterator[Place]:
    """A database with 10 rows in its backup, 20 in its archive and 25 on its disk."""
    # In memory: each test copies thousands of files.
    place = Place(Path(tempfile.mkdtemp(prefix="restore-", dir="/dev/shm")))
    for folder in ("volume", "repo", "spool", "logs"):
        (place.root / folder).mkdir()
    (place.root / "pgbackrest.conf").write_text(
        f"[global]\nrepo1-path={place.root}/repo\nspool-path={place.root}/spool\nlog-path={place.root}/logs\n"
        f"lock-path={place.root}/spool\nstart-fast=y\ncompress-type=lz4\n"
        f"[db]\npg1-path={place.data}\npg1-socket-path={place.root}\npg1-user=postgres\n"
    )
    account = pwd.getpwnam("postgres")
    if os.getuid() == 0:
        for path in (place.root, *place.root.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid)
    place.run("initdb", "--no-sync", "-D", str(place.data), "-U", "postgres", "--auth=trust", "-E", "UTF8")
    settings = f"""
listen_addresses=''
unix_socket_directories='{place.root}'
fsync=off
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


def end_processes(place: Place) -> None:
    """Kill what an earlier test left: pgBackRest outlives restore.sh, and would write into the next one."""
    until = time.monotonic() + 20
    while left := [
        int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and works_in(place.root, p)
    ]:
        assert time.monotonic() < until, f"these processes do not end: {left}"
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def works_in(folder: Path, process: Path) -> bool:
    try:
        return str((process / "cwd").readlink()).startswith(str(folder))
    except OSError:
        return False


def as_at_first(template: Place) -> Place:
    """The same folder in its original state."""
    end_processes(template)
    for name in ("volume", "repo"):
        shutil.rmtree(template.root / name)
        subprocess.run(["cp", "-a", template.root / f"kept-{name}", template.root / name], check=True)
    for name in ("work", "spool/archive", "restore.log", "message"):
        path = template.root / name
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    template.start()
    template.sql("INSERT INTO kept SELECT generate_series(1, 5)")
    template.stop()
    return template


def segments(place: Place) -> list[Path]:
    return sorted(p for p in (place.root / "repo/archive").rglob("0*-*.lz4"))


def instead(place: Place, text: str) -> str:
    """A search path with a program in the place of pgBackRest; $new is the folder to restore into."""
    tool = place.root / "instead/pgbackrest"
    tool.parent.mkdir(exist_ok=True)
    tool.write_text(f"#!/bin/bash\nnew={place.data}_restore\n{text}\n")
    tool.chmod(0o755)
    return f"{tool.parent}:{place.environment()['PATH']}"
