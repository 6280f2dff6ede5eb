"""Processes of a real PostgreSQL that outlive their postmaster end before another server starts."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support import scripts
from tests.support.busy import is_alive
from tests.support.local_server import LONG, Server, busy_server, wait_for

OPTIONS = """
archive_mode = on
archive_command = 'touch {root}/archiving; sleep 1000'
"""


@pytest.fixture
def server() -> Iterator[Server]:
    with busy_server(OPTIONS) as made:
        yield made


def test_a_server_starts_only_after_a_busy_backend_of_the_former_one_has_ended(server: Server) -> None:
    backend = server.spin()
    server.crash()
    time.sleep(1)
    assert is_alive(backend), "PostgreSQL ends it by itself: the script is not needed any more"
    server.start()
    assert not is_alive(backend)
    assert "outlived" in server.log()
    late = "SELECT count(*) FROM committed WHERE at > pg_postmaster_start_time()"
    assert server.sql(late) == "0", "a commit of the former server beside the new one"


def test_an_archiver_that_waits_for_its_command_ends_with_the_command(server: Server) -> None:
    archiver = server.archiver()
    command = subprocess.run(["pgrep", "-g", str(archiver)], capture_output=True, text=True, check=True)
    server.crash()
    assert is_alive(archiver)
    server.start()
    assert not any(map(is_alive, [archiver, *map(int, command.stdout.split())]))


def test_single_user_mode_ends_them_too(server: Server) -> None:
    backend = server.spin()
    server.crash()
    single = server.begin(f"{server.root}/first/postgres", "--single", "-D", str(server.data), "postgres")
    assert single.wait(LONG) == 0, server.log()
    assert not is_alive(backend)


def test_a_server_that_runs_is_left_alone(server: Server) -> None:
    backend = server.spin()
    second = server.begin(f"{server.root}/first/postgres", "-D", str(server.data))
    assert second.wait(LONG) != 0
    assert is_alive(backend)
    assert "outlived" not in server.log()


def test_the_volume_stays_locked_until_the_last_process_has_ended(server: Server) -> None:
    backend = server.spin()
    assert server.is_locked()
    server.crash()
    text = f'. {scripts.folder()}/volume-lock.sh; lock_volume "{server.data.parent}"'
    successor = server.begin("bash", "-c", text)
    time.sleep(1)
    assert successor.poll() is None, "it did not wait for the backend"
    os.kill(backend, signal.SIGKILL)
    assert successor.wait(LONG) == 0
    assert not server.is_locked()


@pytest.mark.parametrize("crashed", [True, False])
def test_when_patroni_gives_up_its_lease_processes_of_a_crashed_server_end(
    server: Server, crashed: bool
) -> None:
    backend = server.spin()
    if crashed:
        server.crash()
    reader, writer = os.pipe()
    try:
        watchdog = server.begin("bash", f"{scripts.folder()}/watchdog.sh", stdin=reader)
        os.write(writer, b"Ctimeout=60\nV")
        if crashed:
            wait_for("the backend has ended", lambda: not is_alive(backend))
        else:
            time.sleep(1)
            assert is_alive(backend)
    finally:
        os.close(reader)
        os.close(writer)
    assert watchdog.wait(LONG) == 0
