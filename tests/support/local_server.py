"""A real PostgreSQL on a volume of its own, on this machine."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.support import scripts
from tests.support.busy import SPIN
from tests.support.local_postgres import binaries, identity

LONG = 60.0
"""Seconds to wait for an event that must happen, also on a slow machine."""


def wait_for(what: str, condition: Callable[[], object]) -> None:
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, f"within {LONG} s not: {what}"
        time.sleep(0.05)


class Programs:
    """Programs that run in a folder, as the account that may run PostgreSQL."""

    def __init__(self, root: Path) -> None:
        self.root, self.data = root, root / "volume" / "pg"
        self.begun: list[subprocess.Popen[bytes]] = []

    def environment(self) -> dict[str, str]:
        raise NotImplementedError

    def begin(self, *command: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        with (self.root / "log").open("ab") as log:
            started = subprocess.Popen(  # type: ignore[call-overload]
                command,
                env=self.environment(),
                stdin=stdin,
                stdout=log,
                stderr=log,
                cwd=self.root,
                **identity(),
            )
        self.begun.append(started)
        return started

    def run(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(  # type: ignore[call-overload]
            command,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=LONG,
            cwd=self.root,
            **identity(),
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr + self.log()
        return str(done.stdout).strip()

    def log(self) -> str:
        return (self.root / "log").read_text()


class Server(Programs):
    """PostgreSQL on a volume, started through the wrapper as Patroni does."""

    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.root}/first:{binaries()}:/usr/bin:/bin",
            "LC_ALL": "C.UTF-8",
            "PGDATA": str(self.data),
            "PGHOST": str(self.root),
            "PGUSER": "postgres",
        }

    @classmethod
    def create(cls, options: str) -> Self:
        """Create a database cluster with these settings in a new folder, and do not start it."""
        root = Path(tempfile.mkdtemp(prefix="pgoperator-server-"))
        if identity():
            shutil.chown(root, "postgres", "postgres")
        made = cls(root)
        made.run("mkdir", "first", "volume")
        made.run("ln", "-s", str(scripts.folder() / "postgres.sh"), "first/postgres")
        made.run("initdb", "--no-sync", "--auth=trust", "-D", str(made.data))
        with (made.data / "postgresql.conf").open("a") as configuration:
            configuration.write(f"listen_addresses = ''\nunix_socket_directories = '{root}'\nfsync = off\n")
            configuration.write(options.format(root=root))
        return made

    def sql(self, query: str) -> str:
        return self.run("psql", "-XqAt", "-c", query, "postgres")

    def start(self) -> int:
        """Start the server and return the postmaster's process id."""
        self.begin(f"{self.root}/first/postgres", "-D", str(self.data))
        wait_for("the server is ready", lambda: "1" in self.run("psql", "-XqAtc", "SELECT 1", check=False))
        return self.postmaster()

    def postmaster(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def spin(self) -> int:
        """Start a session that commits without end, and return its backend's process id."""
        self.begin("psql", "-Xqc", "CALL spin()", "postgres")
        query = "SELECT pid FROM pg_stat_activity WHERE query = 'CALL spin()' AND state = 'active'"
        wait_for("the session is busy", lambda: self.sql(query))
        return int(self.sql(query))

    def archiver(self) -> int:
        """Let the archiver wait for its command, and return its process id."""
        self.sql("INSERT INTO committed VALUES (now()); SELECT pg_switch_wal()")
        wait_for("the command runs", (self.root / "archiving").exists)
        return int(self.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'archiver'"))

    def crash(self) -> None:
        """Kill the postmaster alone."""
        postmaster = self.postmaster()
        os.kill(postmaster, signal.SIGKILL)
        next(started for started in self.begun if started.pid == postmaster).wait(LONG)

    def is_locked(self) -> bool:
        lock = self.data.parent / ".in-use-server"
        return subprocess.run(["flock", "--nonblock", lock, "true"], check=False).returncode != 0

    def end(self) -> None:
        self.run("pg_ctl", "-w", "-m", "immediate", "-D", str(self.data), "stop", check=False)
        for process in Path("/proc").glob("[0-9]*"):
            try:
                is_ours = (process / "cwd").readlink() == self.data
            except OSError:
                continue
            if is_ours:
                os.kill(int(process.name), signal.SIGKILL)
        for started in self.begun:
            started.wait(LONG)
        shutil.rmtree(self.root)


@contextmanager
def busy_server(options: str = "") -> Iterator[Server]:
    """A server that runs, with the procedure that commits without end."""
    made = Server.create(options)
    try:
        made.start()
        made.sql(SPIN)
        yield made
    finally:
        made.end()
