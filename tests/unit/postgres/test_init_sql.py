"""`init-sql.sh` against a real server: SQL runs once, and never beside itself."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgoperator.digest import digest
from reconcilers import files

from .conftest import Server

RESET = "DROP TABLE IF EXISTS started; ALTER ROLE postgres IN DATABASE postgres RESET pgoperator.init_sql;"
TABLE = "CREATE TABLE IF NOT EXISTS started (at timestamptz DEFAULT now());\n"
INSERT = TABLE + "INSERT INTO started DEFAULT VALUES;\n"
SLOW = INSERT + "SELECT pg_sleep(2);\n"
FAILS = INSERT + "SELECT not_there();\n"


class Pod:
    """A container in which the operator calls the script."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.script = folder / "init-sql.sh"
        self.script.write_text(files.read("init-sql.sh"))

    def begin(self, sql: str, *more: str, length: int | None = None) -> subprocess.Popen[str]:
        size = len(sql.encode()) if length is None else length
        environment = {
            "PATH": f"{self.server.binaries}:/usr/bin:/bin",
            "PGHOST": str(self.server.folder),
            "PGUSER": "postgres",
            "LOCK": str(self.folder / "lock"),
            "RESULT": str(self.folder / "result"),
        }
        process = subprocess.Popen(
            ["bash", self.script, str(size), digest(sql), *more],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(sql)
        process.stdin.close()
        process.stdin = None
        return process

    def call(self, sql: str, *more: str, length: int | None = None) -> tuple[int, str]:
        process = self.begin(sql, *more, length=length)
        _, errors = process.communicate(timeout=30)
        return process.returncode, errors

    def runs(self) -> int:
        if self.server.value("SELECT to_regclass('started') IS NULL") == "t":
            return 0
        return int(self.server.value("SELECT count(*) FROM started"))


@pytest.fixture
def pod(server: Server, tmp_path: Path) -> Iterator[Pod]:
    yield Pod(server, tmp_path)
    server.query(RESET)


def test_sql_runs_once_whatever_is_forgotten(pod: Pod) -> None:
    """A new operator, a new pod, a custom resource that was created again: the database knows."""
    assert pod.call(INSERT) == (0, "")
    assert pod.call(INSERT) == (0, "")
    assert pod.call(INSERT, "again") == (0, "")
    assert pod.runs() == 1
    assert pod.call(INSERT + "-- other SQL\n") == (0, "")
    assert pod.runs() == 2


def test_sql_is_never_started_beside_itself(pod: Pod) -> None:
    """The operator's connection ends after its limit; psql goes on, and its success is recorded."""
    process = pod.begin(SLOW)
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()
    deadline = time.monotonic() + 10
    while pod.runs() == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert pod.call(SLOW)[0] == 75
    assert process.wait(20) == 0
    assert pod.call(SLOW) == (0, "")
    assert pod.runs() == 1


def test_psql_holds_the_lock_when_the_script_is_killed(pod: Pod) -> None:
    process = pod.begin(SLOW)
    deadline = time.monotonic() + 10
    while pod.runs() == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert pod.call(SLOW)[0] == 75
    process.communicate()


def test_a_failure_that_nobody_heard_of_is_reported_and_not_repeated(pod: Pod) -> None:
    process = pod.begin(FAILS)
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()
    assert process.wait(20) != 0
    status, errors = pod.call(FAILS)
    assert status != 0
    assert "not_there" in errors
    assert pod.runs() == 1
    assert "not_there" in pod.call(FAILS, "again")[1]
    assert pod.runs() == 2
    assert pod.call(INSERT) == (0, ""), "another text"


def test_sql_that_arrives_in_part_is_not_run(pod: Pod) -> None:
    assert pod.call(INSERT, length=len(INSERT) + 1)[0] == 74
    assert pod.runs() == 0


def test_sql_may_change_its_session(pod: Pod) -> None:
    text = INSERT + "\\connect template1\nSET ROLE pg_monitor;\nBEGIN;\nSELECT 'ü';\n"
    assert pod.call(text) == (0, "")
    assert pod.call(text) == (0, "")
    assert pod.runs() == 1


def test_a_password_in_the_sql_appears_nowhere(pod: Pod) -> None:
    """Not in the log, in statistics or in the error that the status shows."""
    secret = "c0nfident1al"
    done = f"CREATE ROLE init_user PASSWORD '{secret}'; SELECT '{secret}'; DROP ROLE init_user;\n"
    assert pod.call(done + f"\\connect template1\nSELECT '{secret}';\n") == (0, "")
    for failing in (
        f"CREATE ROLE x PASSWORD '{secret}' NONSENSE;\n",
        f"SELECT '{secret}' FROM no_such_table;\n",
    ):
        status, errors = pod.call(failing)
        assert status != 0
        assert "ERROR" in errors
        assert secret not in errors
    assert secret not in pod.server.log
    seen = "SELECT count(*) FROM pg_stat_statements WHERE query LIKE '%init_user%'"
    pod.server.query("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    assert pod.server.value(seen) == "0"
