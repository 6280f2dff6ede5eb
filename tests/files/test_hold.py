"""The script that pauses pgBouncer resumes it in any case: run against a process with pgBouncer's name."""

import itertools
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import scripts

SCRIPT = scripts.folder() / "pgbouncer-hold.sh"
# Logs its signals with their times. The name of a process is that of its program, cut to 15 characters.
CHILD = """\
import signal, sys, time
name, out = sys.argv[1], open(sys.argv[2], "a", buffering=1)
open("/proc/self/comm", "w").write(name)
def note(number, frame):
    out.write(f"{signal.Signals(number).name} {time.monotonic()}\\n")
signal.signal(signal.SIGUSR1, note)
signal.signal(signal.SIGUSR2, note)
out.write("ready\\n")
while True:
    time.sleep(60)
"""
HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
ROW = "   0: 0100007F:8C3A 0200000A:{port:04X} {state} 00000000:00000000 00:00000000 00000000  26\n"


class Pooler:
    """A process that stands for pgBouncer, with a name for this test and a table of connections."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, f"bouncer{os.getpid() % 10**7}"
        (folder / "child.py").write_text(CHILD)
        self.notes = folder / "notes"
        self.notes.touch()
        self.connect()
        self.process = subprocess.Popen([sys.executable, folder / "child.py", self.name, self.notes])
        until(lambda: "ready" in self.said)

    @property
    def said(self) -> list[str]:
        return [line.split()[0] for line in self.notes.read_text().splitlines()]

    def first(self, name: str) -> float:
        """The time of the signal, in monotonic seconds."""
        lines = (line.split() for line in self.notes.read_text().splitlines())
        return next(float(line[1]) for line in lines if line[0] == name)

    def connect(self, *states: str, port: int = 5432) -> None:
        rows = "".join(ROW.format(port=port, state=state) for state in states)
        (self.folder / "tcp.new").write_text(HEADER + rows)
        (self.folder / "tcp.new").rename(self.folder / "tcp")

    def hold(self, *words: str, net: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "HOLD_MARK": str(self.folder / "mark"),
            "HOLD_PAUSED": str(self.folder / "paused"),
            "HOLD_NET": str(net or self.folder),
            "HOLD_PROCESS": self.name,
        }
        command = ["bash", str(SCRIPT), *words]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=20, check=False
        )


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def pooler(tmp_path: Path) -> Iterator[Pooler]:
    found = Pooler(tmp_path)
    yield found
    found.process.send_signal(signal.SIGKILL)
    found.process.wait()


def test_clients_are_held_and_released(pooler: Pooler) -> None:
    assert pooler.hold("hold", "5432", "3", "30").stdout == "drained\n"
    until(lambda: pooler.said == ["ready", "SIGUSR1"])
    assert pooler.hold("release").returncode == 0
    until(lambda: pooler.said == ["ready", "SIGUSR1", "SIGUSR2"])
    assert not (pooler.folder / "mark").exists()


def test_clients_go_on_by_themselves(pooler: Pooler) -> None:
    assert pooler.hold("hold", "5432", "1", "1").stdout == "drained\n"
    until(lambda: pooler.said == ["ready", "SIGUSR1", "SIGUSR2"])
    until(lambda: not (pooler.folder / "mark").exists())


def test_a_later_hold_is_not_ended_by_an_earlier_one(pooler: Pooler) -> None:
    pooler.hold("hold", "5432", "1", "1")
    pooler.hold("hold", "5432", "1", "30")
    time.sleep(1.5)
    assert pooler.said == ["ready", "SIGUSR1", "SIGUSR1"]


@pytest.mark.parametrize("state", ["01", "02"])
def test_open_connections_are_waited_for(pooler: Pooler, state: str) -> None:
    pooler.connect(state)
    assert pooler.hold("hold", "5432", "1", "30").stdout == "busy\n"


@contextmanager
def others_come_and_go() -> Iterator[None]:
    """Open and close hundreds of loopback connections per second."""
    enough = threading.Event()

    def come_and_go() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            while not enough.wait(0.001):
                clients = [socket.create_connection(server.getsockname()) for _ in range(10)]
                for client in clients:
                    # Closed at once, without TIME_WAIT.
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    server.accept()[0].close()
                    client.close()

    threads = [threading.Thread(target=come_and_go) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        enough.set()
        for thread in threads:
            thread.join()


def test_none_is_overlooked_while_others_come_and_go(pooler: Pooler) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), source_address=("127.0.0.2", 0)),
        others_come_and_go(),
    ):
        port = str(server.getsockname()[1])
        for _ in range(2):
            assert pooler.hold("hold", port, "2", "30", net=Path("/proc/net")).stdout == "busy\n"


def test_the_pause_waits_for_logins_that_begin_but_not_forever(pooler: Pooler) -> None:
    enough = threading.Event()

    def begin_logins() -> None:
        for new in itertools.cycle(range(1, 30)):
            if enough.wait(0.02):
                return
            pooler.connect(*["02"] * new)

    logins = threading.Thread(target=begin_logins)
    logins.start()
    try:
        begun = time.monotonic()
        answer = pooler.hold("hold", "5432", "1", "30")
    finally:
        enough.set()
        logins.join()
    assert answer.stdout == "busy\n"
    assert pooler.first("SIGUSR1") - begun >= 0.9


def test_connections_of_others_and_closed_ones_are_not(pooler: Pooler) -> None:
    pooler.connect("01", port=5433)
    assert pooler.hold("hold", "5432", "1", "30").stdout == "drained\n"
    pooler.connect("06")
    assert pooler.hold("hold", "5432", "1", "30").stdout == "drained\n"


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
def test_a_sidecar_connected_to_pgbouncer_is_not_waited_for(pooler: Pooler, source: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), source_address=(source, 0)),
    ):
        answer = pooler.hold("hold", str(server.getsockname()[1]), "1", "30", net=Path("/proc/net"))
    assert answer.stdout == ("drained\n" if source == "127.0.0.1" else "busy\n")


def test_without_a_pgbouncer_nothing_is_held(pooler: Pooler) -> None:
    pooler.name = "nobody-is-called"
    answer = pooler.hold("hold", "5432", "1", "30")
    assert answer.returncode == 1
    assert "no process" in answer.stderr
    assert not (pooler.folder / "mark").exists()


def test_what_its_author_has_paused_stays_paused(pooler: Pooler) -> None:
    (pooler.folder / "paused").touch()
    assert pooler.hold("hold", "5432", "1", "1").stdout == "drained\n"
    assert pooler.hold("release").returncode == 0
    time.sleep(1.5)
    assert pooler.said == ["ready"]


def test_a_pause_that_comes_meanwhile_stays(pooler: Pooler) -> None:
    pooler.hold("hold", "5432", "1", "1")
    (pooler.folder / "paused").touch()
    assert pooler.hold("release").returncode == 0
    time.sleep(1.5)
    assert pooler.said == ["ready", "SIGUSR1"]


def test_other_words_are_refused(pooler: Pooler) -> None:
    assert pooler.hold().returncode == 64
