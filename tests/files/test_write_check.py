"""write-check.sh with a real PostgreSQL and pgBouncer: why a write is not acknowledged."""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import scripts
from tests.support.local_postgres import binaries
from tests.support.local_server import LONG, Programs, wait_for

QUIET = 2.0
"""Seconds in which several looks take place."""
FAILURE, ALTERED = "pgv2.percona.com/write-failure", "pgv2.percona.com/altered-settings"
READ_ONLY = "cannot execute DELETE in a read-only transaction"
UNCONFIRMED = "canceling wait for synchronous replication due to user request"


class Primary(Programs):
    """A server, the script beside it, and the annotations that it sends."""

    def __init__(self, root: Path, template: Path | None = None) -> None:
        super().__init__(root)
        self.bin = root / "bin"
        self.check: subprocess.Popen[bytes] | None = None
        for folder in (self.data.parent, self.bin, root / "account"):
            folder.mkdir()
        for name in ("token", "namespace", "ca.crt"):
            (root / "account" / name).write_text(name)
        self.program(
            "curl", f'[ ! -e {root}/cut ] && printf "%s\\n" "$@" | grep annotations >>{root}/reported'
        )
        if template is not None:
            subprocess.run(["cp", "-a", template, self.data], check=True)
        subprocess.run(["chown", "-R", "postgres", root], check=True)
        if template is None:
            self.run("initdb", "-A", "trust", "-U", "postgres", "-D", str(self.data), "-N")
        own = f"port={self.port}\nlisten_addresses='127.0.0.1'\nunix_socket_directories='{root}'\n"
        with (self.data / "postgresql.conf").open("a") as config:
            config.write(f"{own}fsync=off\nautovacuum=off\n")

    @property
    def port(self) -> int:
        return 20000 + os.getpid() % 10000

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(f"#!/bin/bash\n{text}\n")
        (self.bin / name).chmod(0o755)

    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.bin}:{binaries()}:/usr/sbin:/usr/bin:/bin",
            "LC_ALL": "C.UTF-8",
            "PGDATA": str(self.data),
            "PGHOST": str(self.root),
            "PGPORT": str(self.port),
            "PGUSER": "postgres",
            "HOSTNAME": "p-0",
            "SERVICE_ACCOUNT": str(self.root / "account"),
            "POOLER_ADDRESS": str(self.root / "pooler"),
            "POOLER_PASSWORD": str(self.root / "password"),
            "CHECK_SECONDS": "0.3",
            "CHECK_LIMIT": "4",
            "CHECK_AGAIN": "0.1",
            "CHECK_GRACE": "4",
        }

    def sql(self, *queries: str) -> str:
        return self.run("psql", "-XqAt", *(word for query in queries for word in ("-c", query)), "postgres")

    def setting(self, name: str, value: str | None) -> None:
        words = f"RESET {name}" if value is None else f"SET {name} = '{value}'"
        self.sql(f"ALTER SYSTEM {words}", "SELECT pg_reload_conf()")

    def start(self) -> subprocess.Popen[bytes]:
        server = self.begin("postgres", "-D", str(self.data))
        query = ("psql", "-XqAtc", "SELECT 1", "postgres")
        wait_for("the server is ready", lambda: self.run(*query, check=False))
        return server

    def look(self) -> None:
        """Start the script; the first report is that writes do not fail."""
        self.check = self.begin("bash", str(scripts.folder() / "write-check.sh"), stdin=subprocess.PIPE)
        wait_for("the first look", lambda: self.reported == [None])

    @property
    def reported(self) -> list[dict[str, str] | None]:
        """All values that the annotation had."""
        path = self.root / "reported"
        texts = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        notes = [text["metadata"]["annotations"] for text in texts]
        values = [note[FAILURE] for note in notes if FAILURE in note]
        return [json.loads(value) if value else None for value in values]

    @property
    def altered(self) -> list[str]:
        """All values of the annotation about ALTER SYSTEM."""
        texts = [json.loads(line) for line in (self.root / "reported").read_text().splitlines()]
        notes = [text["metadata"]["annotations"] for text in texts]
        return [note[ALTERED] for note in notes if ALTERED in note]

    @property
    def cause(self) -> str:
        """The present cause; "" while writes do not fail."""
        last = self.reported[-1]
        return last["cause"] if last else ""

    def wal(self) -> str:
        return self.sql("SELECT pg_current_wal_lsn()")

    def sessions(self) -> int:
        return int(self.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'write-check'"))

    def end(self) -> None:
        if self.check is not None:
            assert self.check.stdin
            self.check.stdin.close()
            assert self.check.wait(LONG) == 0, "it ends with the container's first process"
        for process in reversed(self.begun):
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGQUIT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                # pgBouncer once ignored it. What is left would hold the port of the next test.
                process.kill()
                process.wait(LONG)


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A data directory, made once."""
    with tempfile.TemporaryDirectory(prefix="pgoperator-write-") as root:
        Path(root).chmod(0o755)
        yield Primary(Path(root)).data


@pytest.fixture
def primary(template: Path) -> Iterator[Primary]:
    with tempfile.TemporaryDirectory(prefix="pgoperator-write-") as root:
        Path(root).chmod(0o755)
        one = Primary(Path(root), template)
        one.start()
        yield one
        one.end()


def test_an_idle_server_stays_idle_and_each_change_costs_one_commit(primary: Primary) -> None:
    primary.sql("CREATE TABLE t (n int)")
    primary.look()
    time.sleep(1)
    before = primary.wal()
    time.sleep(QUIET)
    assert primary.wal() == before
    primary.sql("INSERT INTO t VALUES (1)", "CHECKPOINT")
    written = primary.wal()
    wait_for("a commit of its own", lambda: primary.wal() != written)
    time.sleep(1)
    before = primary.wal()
    assert int(primary.sql(f"SELECT '{before}'::pg_lsn - '{written}'::pg_lsn")) < 1000
    time.sleep(QUIET)
    assert primary.wal() == before
    assert primary.reported == [None]
    assert not (primary.data.parent / ".write-check").exists()


def test_commits_that_wait_for_a_standby_are_reported_in_the_words_of_postgresql(primary: Primary) -> None:
    primary.look()
    primary.setting("synchronous_standby_names", "*")
    wait_for("the report", lambda: primary.cause == UNCONFIRMED)
    reported = primary.reported
    time.sleep(QUIET)
    assert primary.reported == reported, "one report while the cause is the same"
    assert primary.sessions() <= 1
    primary.setting("synchronous_standby_names", None)
    wait_for("the end", lambda: primary.reported == [*reported, None])


def test_a_server_that_became_read_only_is_reported(primary: Primary) -> None:
    primary.look()
    before = primary.wal()
    primary.setting("default_transaction_read_only", "on")
    wait_for("the report", lambda: primary.cause == READ_ONLY)
    assert primary.wal() == before
    reported = primary.reported
    assert reported[-1] is not None
    assert reported[-1]["since"].endswith("Z")
    (primary.root / "cut").touch()
    primary.setting("default_transaction_read_only", None)
    time.sleep(1)
    assert primary.reported == reported
    (primary.root / "cut").unlink()
    wait_for("the API server is there again", lambda: primary.reported == [*reported, None])


def test_each_alter_system_is_reported_once(primary: Primary) -> None:
    primary.sql("ALTER SYSTEM SET work_mem = '8MB'")
    primary.look()
    time.sleep(1)
    assert primary.altered == [], "the operator looks for itself at first"
    primary.sql("ALTER SYSTEM SET archive_command = '/bin/true'")
    wait_for("the report", lambda: len(primary.altered) == 1)
    primary.sql("ALTER SYSTEM RESET archive_command")
    wait_for("the next report", lambda: len(primary.altered) == 2)
    time.sleep(1)
    assert len(set(primary.altered)) == 2
    assert len(primary.altered) == 2


def test_a_volume_without_space_is_reported(primary: Primary) -> None:
    primary.look()
    error = "dd: error writing '/pgdata/.write-check': No space left on device"
    primary.program("dd", f'echo "{error}" >&2; echo "0+0 records out" >&2; exit 1')
    wait_for("the report", lambda: primary.cause == error)
    (primary.bin / "dd").unlink()
    wait_for("the end", lambda: primary.cause == "")


def test_a_volume_that_hangs_is_reported_and_not_asked_twice(primary: Primary) -> None:
    primary.look()
    primary.program("dd", f"echo $$ >>{primary.root}/tries; exec sleep 1000")
    wait_for("the report", lambda: primary.cause)
    assert primary.cause == f"no answer within 4 s, while writing to the volume {primary.data.parent}"
    time.sleep(QUIET)
    [hanging] = (primary.root / "tries").read_text().split()
    (primary.bin / "dd").unlink()
    os.kill(int(hanging), signal.SIGKILL)
    wait_for("the end", lambda: primary.cause == "")


def test_a_frozen_server_is_reported(primary: Primary) -> None:
    primary.look()
    primary.begun[0].send_signal(signal.SIGSTOP)
    wait_for("the report", lambda: primary.cause)
    assert "no answer within" in primary.cause or "timeout" in primary.cause
    primary.begun[0].send_signal(signal.SIGCONT)
    wait_for("the end", lambda: primary.cause == "")


def test_a_server_that_refuses_transactions_before_a_wraparound_is_reported(primary: Primary) -> None:
    primary.begun[0].send_signal(signal.SIGINT)
    primary.begun.pop(0).wait(LONG)
    with (primary.data / "postgresql.conf").open("a") as config:
        # The launcher vacuums one database, and then waits: the limit stays.
        config.write("autovacuum=on\nautovacuum_naptime=2147483\n")
    xid = 2**31 - 1_000_000
    segment = primary.data / "pg_xact" / f"{xid // 32768 // 32:04X}"
    segment.write_bytes(bytes(32 * 8192))
    subprocess.run(["chown", "postgres", segment], check=True)
    primary.run("pg_resetwal", "-x", str(xid), "-u", "3", "-D", str(primary.data))
    primary.start()
    primary.check = primary.begin("bash", str(scripts.folder() / "write-check.sh"), stdin=subprocess.PIPE)
    wait_for("the report", lambda: primary.reported)
    assert "to avoid wraparound data loss" in primary.cause


def test_a_restart_is_no_news_and_a_standby_is_left_alone(primary: Primary) -> None:
    primary.look()
    primary.begun[0].send_signal(signal.SIGINT)
    primary.begun.pop(0).wait(LONG)
    time.sleep(1)
    primary.begun.append(primary.start())
    time.sleep(1)
    (primary.data / "standby.signal").touch()
    primary.setting("default_transaction_read_only", "on")
    time.sleep(1)
    assert primary.reported == [None]
    (primary.data / "standby.signal").unlink()
    wait_for("the report", lambda: primary.cause == READ_ONLY)
    (primary.data / "standby.signal").touch()
    wait_for("a standby takes its report back", lambda: primary.cause == "")


class Pooler:
    """pgBouncer before the server, with its account as in a cluster."""

    def __init__(self, primary: Primary, retry: float = 0.5) -> None:
        self.primary, self.port = primary, primary.port + 1
        hba = primary.data / "pg_hba.conf"
        hba.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        primary.sql("SELECT pg_reload_conf()")
        (primary.root / "users").write_text('"_crunchypgbouncer" "secret"\n')
        (primary.root / "password").write_text("secret")
        (primary.root / "pooler").write_text(f"127.0.0.1 {self.port}\n")
        (primary.root / "ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={primary.port}\n[pgbouncer]\nlisten_addr=127.0.0.1\n"
            f"listen_port={self.port}\nunix_socket_dir=\nauth_type=scram-sha-256\nauth_file={primary.root}/users\n"
            f"server_login_retry={retry}\npool_mode=session\n"
        )
        self.process = primary.begin("pgbouncer", str(primary.root / "ini"))

    def change(self, password: str) -> None:
        self.primary.sql(
            f"ALTER ROLE _crunchypgbouncer PASSWORD '{password}'",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '_crunchypgbouncer'",
        )


def test_a_pooler_that_cannot_log_in_is_reported_after_it_had_its_time(primary: Primary) -> None:
    primary.look()
    pooler = Pooler(primary)
    time.sleep(1)
    assert primary.reported == [None], "it has no account yet"
    primary.sql("CREATE ROLE _crunchypgbouncer LOGIN PASSWORD 'secret'")
    logged_in = "SELECT 1 FROM pg_stat_activity WHERE usename = '_crunchypgbouncer'"
    wait_for("the pooler works", lambda: primary.sql(logged_in))
    time.sleep(5)
    assert primary.reported == [None]
    pooler.change("other")
    wait_for("the report", lambda: primary.cause)
    assert primary.cause == 'through pgBouncer: password authentication failed for user "_crunchypgbouncer"'
    report = primary.reported[-1]
    assert report is not None
    assert report["through"] == "pgBouncer"
    pooler.change("secret")
    wait_for("the end", lambda: primary.cause == "")
    primary.sql("ALTER ROLE _crunchypgbouncer SET default_transaction_read_only = on")
    pooler.change("secret")
    wait_for("the report", lambda: primary.cause == "through pgBouncer: read-only on")
    pooler.process.send_signal(signal.SIGKILL)
    wait_for("a pooler that is away is for its pods to report", lambda: primary.cause == "")


def test_a_pooler_is_not_asked_before_its_account_exists(primary: Primary) -> None:
    """After a login that failed, the first client of the new cluster would wait, or be refused."""
    primary.look()
    pooler = Pooler(primary, retry=30)
    time.sleep(3)
    primary.sql("CREATE ROLE _crunchypgbouncer LOGIN PASSWORD 'secret'")
    uri = f"postgresql://_crunchypgbouncer:secret@127.0.0.1:{pooler.port}/postgres"
    assert primary.run("timeout", "15", "psql", "-XqAtc", "SELECT 1", uri) == "1"


def test_a_pooler_that_never_worked_is_reported(primary: Primary) -> None:
    primary.sql("CREATE ROLE _crunchypgbouncer LOGIN PASSWORD 'other'")
    primary.look()
    Pooler(primary)
    wait_for("the report", lambda: primary.cause.startswith("through pgBouncer: "))
