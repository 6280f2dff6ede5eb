"""Patroni is woken: `wake.sh` and `joined.sh` with a real PostgreSQL and a stand-in for Patroni."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.support import scripts
from tests.support.busy import is_alive
from tests.support.local_server import LONG, Server, busy_server, wait_for


class Patroni(BaseHTTPRequestHandler):
    """Record the requests."""

    asked: list[tuple[str, str]]

    def do_PATCH(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.asked.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    Patroni.asked = []
    listener = HTTPServer(("127.0.0.1", 0), Patroni)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{listener.server_port}"
    listener.shutdown()
    listener.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    with busy_server() as made:
        yield made


Watch = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def watch(server: Server, address: str) -> Watch:
    """Start wake.sh below a process that stands for the container's first."""

    def start(seconds: int = 10) -> subprocess.Popen[bytes]:
        settings = f"PATRONI_SCHEME=http PATRONI_RESTAPI_CONNECT_ADDRESS={address} WAKE_SECONDS={seconds}"
        script = f"{settings} exec bash {scripts.folder()}/wake.sh"
        first = server.begin("bash", "-c", f"exec {{held}}> >({script}); exec sleep 1000")
        time.sleep(1)
        return first

    return start


def children(first: subprocess.Popen[bytes]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()]


def end(first: subprocess.Popen[bytes]) -> None:
    scripts_of_it = children(first)
    first.kill()
    first.wait(LONG)
    wait_for("wake.sh has ended", lambda: not any(map(is_alive, scripts_of_it)))


def test_a_killed_server_is_reported_within_a_second_after_its_processes_have_ended(
    server: Server, watch: Watch
) -> None:
    first = watch()
    backend = server.spin()
    server.crash()
    killed = time.monotonic()
    wait_for("a request", lambda: Patroni.asked)
    assert time.monotonic() - killed < 2
    assert Patroni.asked == [("/config", '{"wake": null}')]
    assert not is_alive(backend)
    time.sleep(1)
    assert len(Patroni.asked) == 1, "one death, one request"
    end(first)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_is_stopped_is_left_to_patroni(server: Server, watch: Watch, mode: str) -> None:
    first = watch()
    server.run("pg_ctl", "-w", "-m", mode, "-D", str(server.data), "stop")
    time.sleep(1)
    assert Patroni.asked == []
    server.start()
    time.sleep(1)
    assert Patroni.asked == []
    end(first)


@pytest.mark.parametrize(("pause", "requests"), [(1000, 1), (0, 2)])
def test_a_server_that_dies_at_each_start_is_not_started_without_a_pause(
    server: Server, watch: Watch, pause: int, requests: int
) -> None:
    first = watch(pause)
    server.crash()
    wait_for("a request", lambda: Patroni.asked)
    server.start()
    time.sleep(1)
    server.crash()
    time.sleep(2)
    assert len(Patroni.asked) == requests
    end(first)


@pytest.fixture
def stream(server: Server) -> Callable[[str], None]:
    """Make psql report that the server streams from this host; not at once."""
    psql, tries = server.root / "first/psql", server.root / "tries"
    server.run("rm", "-f", str(psql), str(tries))

    def report(host: str) -> None:
        line = f"echo >>{tries}; [ $(wc -l <{tries}) -lt 2 ] || echo {host}"
        server.run("bash", "-c", f"printf '#!/bin/sh\\n%s\\n' '{line}' >{psql}; chmod 755 {psql}")

    return report


def standby(server: Server) -> None:
    server.run("pg_ctl", "-w", "-m", "fast", "-D", str(server.data), "stop")
    server.run("touch", f"{server.data}/standby.signal")
    server.start()


def test_the_primary_is_woken_once_when_a_standby_streams(
    server: Server, watch: Watch, stream: Callable[[str], None]
) -> None:
    first = watch()
    standby(server)
    stream("127.0.0.1")
    wait_for("a request", lambda: Patroni.asked)
    time.sleep(2)
    assert Patroni.asked == [("/config", '{"wake": null}')]
    assert len((server.root / "tries").read_text()) == 2
    end(first)


def test_the_primary_of_another_cluster_is_left_alone(
    server: Server, watch: Watch, stream: Callable[[str], None]
) -> None:
    first = watch()
    standby(server)
    stream("localhost")
    wait_for("it streams", (server.root / "tries").exists)
    time.sleep(2)
    assert Patroni.asked == []
    end(first)


def test_patroni_may_start_again_only_beside_a_server_that_runs(server: Server) -> None:
    def may() -> int:
        return server.begin("bash", str(scripts.folder() / "rejoin.sh")).wait(LONG)

    assert may() == 0
    file = server.data / "postmaster.pid"
    lines = file.read_text().splitlines()
    for seconds, status in ((-60, 1), (60, 1), (0, 0)):
        file.write_text("\n".join([*lines[:2], str(int(lines[2]) + seconds), *lines[3:], ""]))
        assert may() == status, "Patroni takes a process with another start for a stranger"
    server.crash()
    assert may() == 1
