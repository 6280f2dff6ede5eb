"""Clients of a real pgBouncer wait while a real PostgreSQL is away, for some seconds, and only then."""

import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import pytest

from tests.support import scripts
from tests.support.local_server import LONG, Server, wait_for

LIMIT = 4
"""Seconds for which clients are held here."""
HELD, RELEASED = "holding clients", "releasing clients"
PAUSED, RESUMED = "got SIGUSR1, pausing", "got SIGUSR2, continuing"
RESTART = "restart_after_crash = on\n"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


PATIENCE = 8.0
"""pgBouncer keeps a client that waits already for up to two minutes, also when it refuses new queries."""


class RefusedError(Exception):
    """pgBouncer or the server answered with an error."""


class Session:
    """A client of pgBouncer; it speaks just enough of the protocol for a query."""

    def __init__(
        self, port: int, user: str = "postgres", database: str = "postgres", patience: float = LONG
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=patience)
        text = f"user\0{user}\0database\0{database}\0\0".encode()
        try:
            self.socket.sendall(struct.pack(">II", len(text) + 8, 196608) + text)
            self._until_ready()
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def query(self, sql: str = "SELECT 1") -> None:
        text = sql.encode() + b"\0"
        self.socket.sendall(b"Q" + struct.pack(">I", len(text) + 4) + text)
        self._until_ready()

    def _until_ready(self) -> None:
        error = ""
        while True:
            head = self._read(5)
            body = self._read(struct.unpack(">I", head[1:])[0] - 4)
            if head[:1] == b"E":
                error = body.replace(b"\0", b" ").decode()
                if "FATAL" in error:
                    raise RefusedError(error)
            if head[:1] == b"Z":
                if error:
                    raise RefusedError(error)
                return

    def _read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            more = self.socket.recv(size - len(found))
            if not more:
                raise RefusedError("the connection was closed")
            found += more
        return found


class Pooled(Server):
    """A server behind a pgBouncer that is started as in the pod."""

    port = 5432
    listen = 0
    limit = LIMIT

    def environment(self) -> dict[str, str]:
        added = {
            # The first folder has the wrapper of PostgreSQL, which looks in those behind it.
            "PATH": super().environment()["PATH"].replace(":", f":{self.root}/bin:", 1) + ":/usr/sbin",
            "PGPORT": str(self.port),
            "PGBOUNCER_PORT": str(self.listen),
            "TMPDIR": str(self.root),
            "HOLD_MARK": str(self.root / "hold"),
            "HOLD_PAUSED": str(self.root / "pgbouncer-paused"),
            "HOLD_OUTAGE": str(self.root / "outage"),
            "HOLD_PROCESS": self.name,
            "PGBOUNCER_OUTAGE_SECONDS": str(self.limit),
        }
        return super().environment() | added

    @property
    def name(self) -> str:
        """The name of the process: other programs on this machine are called pgbouncer."""
        return f"pooler{self.listen}"

    def pool(self, line: str | None = None) -> None:
        """Start pgBouncer; `line` replaces the mark of the operator."""
        self.listen = free_port()
        program = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
        assert program, "these tests need pgbouncer: python3 -m local test-tools"
        (self.root / "bin").mkdir()
        (self.root / "bin" / self.name).symlink_to(program)
        start = self.root / "bin" / "pgbouncer"
        start.write_text(f'#!/bin/bash\nexec {self.name} "$@"\n')
        start.chmod(0o755)
        (self.root / "users").write_text('"postgres" ""\n"limited" "wrong"\n')
        mark = f";; primary 127.0.0.1 {self.port}" if line is None else line
        (self.root / "ini").write_text(
            f"{mark}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.listen}\n"
            f"auth_type = trust\nauth_file = {self.root}/users\nunix_socket_dir =\npool_mode = transaction\n"
            "server_login_retry = 0.5\nserver_check_delay = 5\nadmin_users = postgres\n"
            f"[databases]\n* = host=127.0.0.1 port={self.port}\n"
        )
        self.begin("bash", str(scripts.folder() / "pgbouncer.sh"), str(self.root / "ini"))
        wait_for("pgBouncer answers", self.answers)

    def answers(self) -> bool:
        try:
            with Session(self.listen) as session:
                session.query()
        except (OSError, RefusedError):
            return False
        return True

    def count(self, text: str) -> int:
        return self.log().count(text)

    def kill(self) -> None:
        """Kill the postmaster and its children."""
        postmaster = self.postmaster()
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        self.crash()
        for child in map(int, children):
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                continue
        wait_for("no child is left", lambda: not any(Path(f"/proc/{child}").exists() for child in children))

    def script(self, *words: str) -> str:
        return self.run("bash", str(scripts.folder() / words[0]), *words[1:])


@contextmanager
def pooled(limit: int = LIMIT, line: str | None = None) -> Iterator[Pooled]:
    port = free_port()
    made = Pooled.create(f"port = {port}\nlisten_addresses = '127.0.0.1'\n{RESTART}")
    made.port, made.limit = port, limit
    try:
        made.start()
        made.pool(line)
        yield made
    finally:
        for one in made.begun[1:]:
            one.send_signal(signal.SIGQUIT)
        made.end()


@pytest.fixture
def server() -> Iterator[Pooled]:
    with pooled() as made:
        yield made


class Load:
    """Clients that query without a pause until told otherwise; a client that fails connects again."""

    def __init__(self, port: int, clients: int = 5) -> None:
        self.port, self.enough = port, threading.Event()
        self.answered: list[float] = []
        self.errors: list[str] = []
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        wait_for("the clients work", lambda: len(self.answered) > 20)
        return self

    def __exit__(self, *_: object) -> None:
        self.enough.set()
        for thread in self.threads:
            thread.join(LONG)

    def _work(self) -> None:
        while not self.enough.is_set():
            try:
                with Session(self.port, patience=PATIENCE) as session:
                    while not self.enough.wait(0.02):
                        session.query()
                        self.answered.append(time.monotonic())
            except (OSError, RefusedError) as error:
                self.errors.append(str(error))
                self.enough.wait(0.02)

    def goes_on(self) -> None:
        """Wait for ten more answers."""
        before = len(self.answered)
        wait_for("queries are answered again", lambda: len(self.answered) > before + 10)


def test_queries_wait_for_a_server_that_was_killed(server: Pooled) -> None:
    with Load(server.listen) as load:
        server.kill()
        wait_for("the clients are held", lambda: server.count(PAUSED))
        before = len(load.errors)
        time.sleep(1)
        assert len(load.errors) == before, "they wait"
        server.start()
        load.goes_on()
    assert len(load.errors) <= 15, f"at most two or three for each client: {load.errors}"
    assert server.count(HELD) == server.count(PAUSED) == server.count(RESUMED) == 1
    time.sleep(LIMIT)
    assert server.count("got SIGUSR") == 2, "the limit of an outage that has ended does nothing"
    assert not (server.root / "outage").exists()


def test_without_the_mark_of_the_operator_they_fail_as_before(server: Pooled) -> None:
    text = (server.root / "ini").read_text()
    (server.root / "ini").write_text(text.partition("\n")[2])
    with Load(server.listen) as load:
        server.kill()
        wait_for("they fail again and again", lambda: len(load.errors) > 100)
        server.start()
        load.goes_on()
    assert server.count(HELD) == server.count("got SIGUSR") == 0


def test_a_server_that_stops_and_starts_as_patroni_does_it(server: Pooled) -> None:
    with Load(server.listen) as load:
        server.run("pg_ctl", "-w", "-m", "fast", "-D", str(server.data), "stop")
        wait_for("the clients are held", lambda: server.count(PAUSED))
        server.start()
        load.goes_on()
    assert server.count(PAUSED) == server.count(RESUMED) >= 1


def test_a_server_that_recovers_from_the_crash_of_one_backend(server: Pooled) -> None:
    with Load(server.listen) as load:
        # The whole server restarts, its postmaster stays and says 57P03 meanwhile.
        os.kill(int(server.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")), 9)
        load.goes_on()
        wait_for("nobody is held", lambda: server.count(PAUSED) == server.count(RESUMED))


def test_after_the_limit_they_fail_and_are_held_once_only(server: Pooled) -> None:
    with Load(server.listen) as load:
        began = time.monotonic()
        server.kill()
        wait_for("the clients are held", lambda: server.count(PAUSED))
        wait_for("and released", lambda: server.count(RESUMED))
        assert time.monotonic() - began > LIMIT - 1
        before = len(load.errors)
        wait_for("they fail again and again", lambda: len(load.errors) > before + 50)
        assert server.count(PAUSED) == 1
        assert server.count(f"has not answered for {LIMIT} s") == 1
        server.start()
        load.goes_on()
        # The next outage is another one.
        time.sleep(1.5)
        server.kill()
        wait_for("the clients are held again", lambda: server.count(PAUSED) == 2)
        server.start()
        load.goes_on()


def test_a_login_that_the_server_refuses_holds_nobody(server: Pooled) -> None:
    server.sql("CREATE ROLE limited LOGIN PASSWORD 'right'")
    hba = server.data / "pg_hba.conf"
    hba.write_text("host all limited all scram-sha-256\n" + hba.read_text())
    server.sql("SELECT pg_reload_conf()")
    with Load(server.listen) as load:
        for _ in range(5):
            with pytest.raises(RefusedError), Session(server.listen, "limited") as session:
                session.query()
            time.sleep(0.3)
        load.goes_on()
    assert load.errors == []
    assert server.count("server login failed") >= 1
    assert server.count("got SIGUSR") == server.count(HELD) == 0


def test_a_terminated_backend_holds_nobody(server: Pooled) -> None:
    with Load(server.listen) as load:
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE client_port > 0")
        load.goes_on()
        time.sleep(1)
    assert server.count("server conn crashed") >= 1
    assert server.count("got SIGUSR") == server.count(HELD) == 0


def test_a_planned_hold_has_precedence(server: Pooled) -> None:
    assert server.script("pgbouncer-hold.sh", "hold", str(server.port), "3", "30") == "drained"
    signals = server.count("got SIGUSR")
    server.kill()
    held = threading.Thread(target=server.answers)
    held.start()
    time.sleep(1)
    assert server.count("got SIGUSR") == signals == 1
    server.start()
    time.sleep(1)
    assert server.count("got SIGUSR") == 1, "the end of the outage is not the end of the planned hold"
    server.script("pgbouncer-hold.sh", "release")
    held.join(LONG)
    assert server.count(RESUMED) == 1


def test_a_planned_hold_that_begins_meanwhile_has_the_last_word(server: Pooled) -> None:
    with Load(server.listen):
        server.kill()
        wait_for("the clients are held", lambda: server.count(PAUSED))
        server.script("pgbouncer-hold.sh", "hold", str(server.port), "1", "30")
        server.start()
        wait_for("the outage is over", lambda: server.count(RELEASED))
        time.sleep(1)
        assert server.count(RESUMED) == 0
        server.script("pgbouncer-hold.sh", "release")
        wait_for("the clients go on", lambda: server.count(RESUMED) == 1)


def test_what_the_spec_pauses_stays_paused(server: Pooled) -> None:
    with Load(server.listen):
        server.kill()
        wait_for("the clients are held", lambda: server.count(PAUSED))
        (server.root / "pgbouncer-paused").touch()
        server.start()
        wait_for("the outage is over", lambda: server.count(RELEASED))
        time.sleep(1)
        assert server.count(RESUMED) == 0
        (server.root / "pgbouncer-paused").unlink()
        os.kill(pid_of(server.name), signal.SIGUSR2)


def test_clients_are_released_even_if_the_watch_dies(server: Pooled) -> None:
    with Load(server.listen):
        server.kill()
        wait_for("the clients are held", lambda: server.count(PAUSED))
        token = (server.root / "outage").read_text()
        os.kill(int(token.split("-")[0]), signal.SIGKILL)
        wait_for("they are released", lambda: server.count(RESUMED) == 1)


def test_it_can_be_switched_off() -> None:
    with pooled(limit=0) as server, Load(server.listen) as load:
        server.kill()
        wait_for("they fail again and again", lambda: len(load.errors) > 50)
        assert server.count("got SIGUSR") == 0
        server.start()
        load.goes_on()


def test_the_last_words_and_the_status_of_pgbouncer_are_passed_on(server: Pooled) -> None:
    (server.root / "bin" / "pgbouncer").write_text(
        '#!/bin/bash\nfor ((i = 0; i < 5000; i++)); do echo "line $i äöü"; done >&2\n'
        "printf 'the end' >&2; exit 7\n"
    )
    done = subprocess.run(
        ["bash", scripts.folder() / "pgbouncer.sh", str(server.root / "ini")],
        env=server.environment(),
        capture_output=True,
        check=False,
        timeout=LONG,
    )
    assert done.returncode == 7
    assert done.stderr.decode() == "".join(f"line {i} äöü\n" for i in range(5000)) + "the end"


@pytest.mark.parametrize(("sent", "logged"), [("TERM", "got SIGTERM"), ("INT", "got SIGINT")])
def test_signals_reach_pgbouncer(server: Pooled, sent: str, logged: str) -> None:
    entry = server.begun[-1]
    entry.send_signal(getattr(signal, f"SIG{sent}"))
    assert entry.wait(LONG) in {0, 1}
    assert server.count(logged) == 1


def reading(server: Pooled) -> subprocess.Popen[bytes]:
    """The script alone, beside the one of the server's pgBouncer."""
    own = {"PGBOUNCER_CONFIG": str(server.root / "ini"), "HOLD_OUTAGE": str(server.root / "other")}
    return subprocess.Popen(
        ["bash", scripts.folder() / "pgbouncer-outage.sh"],
        env=server.environment() | own,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_two_thousand_lines_a_second_cost_little(server: Pooled) -> None:
    line = (
        b"2026-12-01 14:37:15.897 UTC [5528] LOG C-0x55d7534a44f0: a/b@10.0.0.1:51148 login attempt: db=a\n"
    )
    with reading(server) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        read = threading.Thread(target=process.stderr.read)
        read.start()
        for _ in range(30):
            process.stdin.write(line * 200)
            process.stdin.flush()
            time.sleep(0.1)
        used = sum(cpu(pid) for pid in pids(f"HOLD_OUTAGE={server.root}/other"))
        process.stdin.close()
        read.join(LONG)
    assert used < 0.2, "seconds of a core, in three seconds"


def test_a_lost_connection_is_found_in_a_line_that_comes_in_pieces(server: Pooled) -> None:
    server.kill()
    with reading(server) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        for piece in (b"closing because: server conn cra", b"shed? (age=3s)\n"):
            process.stdin.write(piece)
            process.stdin.flush()
            time.sleep(0.3)
        wait_for("the clients are held", (server.root / "other").exists)
        process.stdin.close()
        server.start()  # what waits for the server ends, too
        assert HELD in process.stderr.read().decode()


def pids(variable: str) -> Iterator[int]:
    """Processes with this variable."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if variable.encode() in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)


def pid_of(name: str) -> int:
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "comm").read_text().strip() == name:
                return int(entry.name)
    raise AssertionError(f"no process is called {name}")


def cpu(pid: int) -> float:
    """Seconds of a core that the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
