"""A planned stop without Patroni's pauses: `before-stop.sh` with a real PostgreSQL."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import scripts
from tests.support.busy import is_alive
from tests.support.local_server import LONG, Server, busy_server

ARCHIVES = "archive_mode = on\narchive_command = 'touch {root}/archiving; while :; do sleep 1; done'\n"


@pytest.fixture
def server() -> Iterator[Server]:
    with busy_server() as made:
        yield made


def mark(server: Server, age: int = 0) -> Path:
    """Mark the next stop as planned, `age` seconds ago."""
    path = Path(f"{server.root}.planned")
    server.run("touch", str(path))
    os.utime(path, (time.time() - age,) * 2)
    return path


def before_stop(server: Server, *command: str) -> tuple[int, float]:
    """Run the script as Patroni does; return its status and the seconds that it took."""
    began = time.monotonic()
    process = server.begin("bash", str(scripts.folder() / "before-stop.sh"), *command)
    status = process.wait(LONG)
    return status, time.monotonic() - began


def reap(server: Server, postmaster: int) -> None:
    next(started for started in server.begun if started.pid == postmaster).wait(LONG)


def state(server: Server) -> str:
    lines = server.run("pg_controldata", str(server.data)).splitlines()
    return next(line.split(":")[1].strip() for line in lines if "cluster state" in line)


@pytest.fixture(autouse=True)
def no_mark(server: Server) -> Iterator[None]:
    yield
    Path(f"{server.root}.planned").unlink(missing_ok=True)


def test_a_planned_stop_ends_the_server_and_its_sessions_at_once(server: Server) -> None:
    backend, postmaster, path = server.spin(), server.postmaster(), mark(server)
    status, _ = before_stop(server)
    assert (status, state(server)) == (0, "shut down")
    assert not is_alive(backend)
    assert not path.exists(), "each mark is for one stop"
    reap(server, postmaster)


@pytest.mark.parametrize("age", [None, 31, -60])
def test_without_a_fresh_mark_the_server_is_left_alone(server: Server, age: int | None) -> None:
    if age is not None:
        mark(server, age)
    assert before_stop(server)[0] == 0
    time.sleep(0.5)
    assert server.sql("SELECT 1") == "1"


def test_the_users_own_command_runs_first_and_gives_the_status(server: Server) -> None:
    mark(server)
    postmaster = server.postmaster()
    query = "psql -XqAtc 'SELECT 1' postgres >said; exit 3"
    assert before_stop(server, "bash", "-c", query)[0] == 3
    assert (server.root / "said").read_text() == "1\n"
    assert state(server) == "shut down"
    reap(server, postmaster)


def test_a_frozen_server_delays_patroni_for_three_seconds_only(server: Server) -> None:
    postmaster = server.postmaster()
    os.kill(postmaster, signal.SIGSTOP)
    try:
        mark(server)
        status, seconds = before_stop(server)
        assert status == 0
        assert seconds >= 3
    finally:
        os.kill(postmaster, signal.SIGCONT)
    reap(server, postmaster)
    assert state(server) == "shut down"


def test_an_archiver_that_still_works_is_not_waited_for() -> None:
    with busy_server(ARCHIVES) as server:
        server.archiver()
        mark(server)
        status, _ = before_stop(server)
        assert (status, state(server)) == (0, "shut down")
        assert is_alive(server.postmaster())
        subprocess.run(["kill", "-QUIT", str(server.postmaster())], check=True)
