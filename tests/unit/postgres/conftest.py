"""A throw-away PostgreSQL of whatever major version Debian has installed here, on a socket of its own."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pgoperator import pki

SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "autovacuum": "off",
    "log_statement": "all",
    "log_min_duration_statement": "0",
    "log_min_error_statement": "info",
    "log_duration": "on",
    "shared_preload_libraries": "pg_stat_statements,pgaudit",
    "pg_stat_statements.track": "all",
    "pgaudit.log": "all",
    "pgaudit.log_parameter": "on",
    "wal_level": "logical",
    "ssl": "on",
    "ssl_ca_file": "root.crt",
}


def _binaries() -> Path:
    """The newest version's folder; no server is a failure, never a skipped test."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    if not found:
        pytest.fail("these tests need a server: apt-get install postgresql postgresql-NN-pgaudit")
    return found[-1].parent


@dataclass(frozen=True)
class Server:
    """A running server. `run` gives psql a script as the operator does, by standard input."""

    binaries: Path
    folder: Path

    @property
    def major(self) -> int:
        return int(self.binaries.parts[-2])

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def run(
        self, script: str, *arguments: str, database: str = "postgres", user: str = "postgres"
    ) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.binaries}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
        command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder), "-U", user]
        command += ["-d", database, *arguments, "-f", "-"]
        return subprocess.run(
            command, input=script, env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    def query(self, sql: str, database: str = "postgres", user: str = "postgres") -> list[list[str]]:
        done = self.run(sql, "-A", "-t", "-F", "\x1f", "-v", "VERBOSITY=terse", database=database, user=user)
        assert done.returncode == 0, done.stderr
        return [line.split("\x1f") for line in done.stdout.splitlines()]

    def value(self, sql: str, database: str = "postgres", user: str = "postgres") -> str:
        return self.query(sql, database, user)[0][0]


def _drop_privileges() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    account = pwd.getpwnam("postgres")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _start(folder: Path, binaries: Path, options: Sequence[str]) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [str(binaries / "postgres"), "-D", str(folder / "data"), "-k", str(folder), *options],
            stdout=log,
            stderr=log,
            **_drop_privileges(),
        )
    ready: list[str | Path] = [binaries / "pg_isready", "-q", "-h", folder]
    for _ in range(200):
        if subprocess.run(ready, check=False).returncode == 0:
            return process
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    process.wait()
    pytest.fail("the server did not start:\n" + (folder / "log").read_text())


def _certificates(data: Path) -> None:
    """TLS with certificates of our own making, under the names that PostgreSQL looks for."""
    now = datetime.now(UTC)
    ca = pki.new_ca("test", now)
    pair = pki.issue(ca, common_name="localhost", dns_names=["localhost"], now=now)
    for name, content in {"root.crt": ca.cert, "server.crt": pair.cert, "server.key": pair.key}.items():
        (data / name).write_bytes(content)
        (data / name).chmod(0o600)
        if os.getuid() == 0:
            shutil.chown(data / name, "postgres", "postgres")


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    """One server for all tests: they share its start, and name their own databases."""
    # Not pytest's own folder: its path may be too long for a socket, and is closed to the server's account.
    binaries, folder = _binaries(), Path(tempfile.mkdtemp(prefix="pgoperator-", dir="/tmp"))
    try:
        if os.getuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        folder.chmod(0o755)
        initdb: list[str | Path] = [
            binaries / "initdb",
            "-D",
            folder / "data",
            "-U",
            "postgres",
            "-A",
            "trust",
            "-N",
        ]
        initdb += ["-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, **_drop_privileges())
        _certificates(folder / "data")
        options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        process = _start(folder, binaries, options)
        yield Server(binaries, folder)
        process.terminate()
        process.wait(timeout=30)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """The server, and what a test has made on it removed afterwards."""
    yield shared_server
    made = "SELECT 1 FROM pg_roles WHERE oid > 16383 UNION ALL SELECT 1 FROM pg_database WHERE oid > 16383"
    if not shared_server.query(made):
        return
    ours = "WHERE oid > 16383 \\gexec"
    done = shared_server.run(
        "ALTER ROLE postgres PASSWORD NULL; ALTER ROLE postgres RESET ALL;"
        f"SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database {ours}"
    )
    assert done.returncode == 0, done.stderr
    for database in ("template1", "postgres"):
        done = shared_server.run(
            "DROP SCHEMA IF EXISTS pgbouncer CASCADE; DROP EXTENSION IF EXISTS hstore, pgaudit CASCADE;"
            f"SELECT format('DROP OWNED BY %I CASCADE', rolname) FROM pg_roles {ours}",
            database=database,
        )
        assert done.returncode == 0, done.stderr
    done = shared_server.run(f"SELECT format('DROP ROLE %I', rolname) FROM pg_roles {ours}")
    assert done.returncode == 0, done.stderr
