"""`watchdog.sh` with a pipe that is written to as Patroni does, and stand-ins for PostgreSQL."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.support import scripts
from tests.support.busy import is_alive

T = TypeVar("T")
SCRIPTS = scripts.folder()
LONG = 60.0
"""Seconds to wait for an event that must happen, also on a slow machine."""


def wait_for(condition: Callable[[], T], what: str) -> T:
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.05)
    pytest.fail(f"within {LONG} s not: {what}")


class Server:
    """A process with the given name and two children in sessions of their own, like PostgreSQL's."""

    def __init__(self, data: Path, name: str = "postgres", folder: Path | None = None) -> None:
        program = data.parent / name
        if not program.exists():
            shutil.copy(shutil.which("bash") or "/bin/bash", program)
        script = "setsid sleep 1000 & setsid sleep 1000 & wait"
        self.process = subprocess.Popen([program, "-c", script], cwd=folder or data)
        self.pid = self.process.pid
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        wait_for(lambda: len(children.read_text().split()) == 2, "its processes")
        self.pids = [self.pid, *map(int, children.read_text().split())]
        (data / "postmaster.pid").write_text(f"{self.pid}\n{data}\n")

    def signal(self, number: signal.Signals) -> None:
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait_killed(self) -> None:
        wait_for(lambda: not any(map(is_alive, self.pids)), "all processes of the server are gone")
        assert self.process.wait(LONG) == -signal.SIGKILL

    def assert_runs(self) -> None:
        assert all(map(is_alive, self.pids)), "it was killed"

    def end(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait(LONG)


class Watchdog:
    """The script and its pipe, which the container's first process and Patroni hold open."""

    def __init__(self, root: Path) -> None:
        self.data = root / "pg99"
        self.data.mkdir()
        pipe = root / "pipe"
        os.mkfifo(pipe)
        self.held = os.open(pipe, os.O_RDWR)
        self.device = os.open(pipe, os.O_WRONLY)
        reader = os.open(pipe, os.O_RDONLY)
        self.process = subprocess.Popen(
            ["/bin/bash", SCRIPTS / "watchdog.sh"],
            stdin=reader,
            stderr=subprocess.PIPE,
            text=True,
            env={"PGDATA": str(self.data), "PATH": "/nowhere"},
        )
        os.close(reader)
        self.servers: list[Server] = []

    def server(self, **how: Any) -> Server:
        self.servers.append(Server(self.data, **how))
        return self.servers[-1]

    def say(self, message: str) -> None:
        """Write as Patroni 4 does (patroni/watchdog/linux.py)."""
        os.write(self.device, message.encode())

    def arm(self, seconds: int) -> None:
        self.say(f"Ctimeout={seconds}\n")

    def close(self) -> None:
        for descriptor in (self.held, self.device):
            with contextlib.suppress(OSError):
                os.close(descriptor)


@pytest.fixture
def watchdog(tmp_path: Path) -> Iterator[Watchdog]:
    one = Watchdog(tmp_path)
    yield one
    one.close()
    for server in one.servers:
        server.end()
    assert one.process.wait(LONG) == 0, "it ends with the last one that could write"
    assert one.process.stderr
    one.process.stderr.close()


def test_a_server_whose_lease_is_not_renewed_is_killed_also_when_it_is_frozen(watchdog: Watchdog) -> None:
    server = watchdog.server()
    server.signal(signal.SIGSTOP)
    watchdog.arm(1)
    server.wait_killed()


def test_renewals_let_it_run_whatever_else_fails(watchdog: Watchdog) -> None:
    """As in failsafe mode: without an API server Patroni writes `1` after it has asked the members."""
    server = watchdog.server()
    watchdog.arm(5)
    for _ in range(16):
        time.sleep(0.5)
        watchdog.say("1")
    server.assert_runs()
    # The timeout counts from the last renewal.
    server.wait_killed()


def test_it_is_quiet_before_patroni_leads_and_after_it_has_given_up(watchdog: Watchdog) -> None:
    """As in a demotion, a paused cluster, and a shutdown, whose checkpoint may take long."""
    server = watchdog.server()
    time.sleep(1)
    server.assert_runs()
    watchdog.arm(2)
    watchdog.say("1")
    watchdog.say("V")
    time.sleep(4)
    server.assert_runs()


def test_a_lease_can_change(watchdog: Watchdog) -> None:
    server = watchdog.server()
    watchdog.arm(3600)
    watchdog.say("1")
    time.sleep(1)
    server.assert_runs()
    watchdog.arm(1)
    server.wait_killed()


def test_once_it_is_too_late_a_server_that_starts_is_killed_as_well(watchdog: Watchdog) -> None:
    """Patroni may have been starting one when it was frozen."""
    watchdog.arm(1)
    time.sleep(2)
    server = watchdog.server()
    server.wait_killed()


def test_patroni_may_start_a_server_again_when_it_has_renewed_the_lease(watchdog: Watchdog) -> None:
    former = watchdog.server()
    watchdog.arm(6)
    former.wait_killed()
    watchdog.say("1")
    server = watchdog.server()
    time.sleep(3)
    server.assert_runs()
    server.wait_killed()


@pytest.mark.parametrize("stranger", ["other program", "other folder"])
def test_only_the_server_of_this_folder_is_meant(watchdog: Watchdog, tmp_path: Path, stranger: str) -> None:
    """The file may be of a former server whose process id belongs to another process now."""
    if stranger == "other program":
        server = watchdog.server(name="other")
    else:
        server = watchdog.server(folder=tmp_path)
    watchdog.arm(1)
    time.sleep(3)
    server.assert_runs()


def test_a_strange_file_harms_nothing(watchdog: Watchdog) -> None:
    server = watchdog.server()
    file = watchdog.data / "postmaster.pid"
    file.write_text("")
    watchdog.arm(1)
    for text in ("", "\n", "-1\n", "../self\n", "nonsense"):
        file.write_text(text)
        time.sleep(1.2)
        server.assert_runs()
    file.unlink()
    time.sleep(1.2)
    assert watchdog.process.poll() is None
    file.write_text(f"{server.pid}\n")
    server.wait_killed()


def test_a_renewal_counts_that_came_while_it_could_not_look(watchdog: Watchdog) -> None:
    """If the machine did not schedule the watchdog for long, Patroni may still have renewed in time."""
    server = watchdog.server()
    watchdog.arm(5)
    time.sleep(1)
    watchdog.process.send_signal(signal.SIGSTOP)
    watchdog.say("1")
    time.sleep(6)
    watchdog.process.send_signal(signal.SIGCONT)
    time.sleep(1)
    server.assert_runs()
    server.wait_killed()


def test_messages_that_nobody_knows_are_passed_over(watchdog: Watchdog) -> None:
    server = watchdog.server()
    watchdog.say("1x\nCtimeout=nonsense\nCtimeout=0\n1")
    time.sleep(2)
    server.assert_runs()
    watchdog.arm(1)
    server.wait_killed()


@pytest.mark.parametrize("led", [True, False])
def test_when_nobody_can_write_any_more_a_primary_is_killed_and_a_replica_is_not(
    watchdog: Watchdog, led: bool
) -> None:
    server = watchdog.server()
    if led:
        watchdog.arm(3600)
    watchdog.close()
    assert watchdog.process.wait(LONG) == 0
    if led:
        server.wait_killed()
    else:
        server.assert_runs()


def test_it_makes_no_process_while_it_waits(watchdog: Watchdog) -> None:
    watchdog.arm(3600)
    time.sleep(1)
    pid = watchdog.process.pid
    assert Path(f"/proc/{pid}/task/{pid}/children").read_text() == ""
