"""A primary whose container stops hands over first: `hand-over.sh`, with stand-ins for Patroni and psql."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support import scripts

ME, A, B = "c1-i-aaaa-0", "c1-i-bbbb-0", "c1-i-cccc-0"


@dataclass
class Patroni:
    """What the stand-in answers, and what it was asked for."""

    is_primary: bool = True
    paused: bool = False
    refuses: set[str] = field(default_factory=set)
    silent: bool = False
    seconds: float = 0
    leader: str | None = ME
    asked: list[Any] = field(default_factory=list)
    marks: list[bool] = field(default_factory=list)
    mark: Path = Path()

    def get(self, path: str) -> tuple[int, Any]:
        if path == "/primary":
            return (200 if self.is_primary else 503), {"state": "running"} | (
                {"pause": True} if self.paused else {}
            )
        roles = [(name, "leader" if name == self.leader else "replica") for name in (ME, A, B)]
        return 200, {"members": [{"name": name, "role": role, "state": "running"} for name, role in roles]}

    def post(self, body: Any) -> tuple[int, Any]:
        self.asked.append(body["candidate"])
        self.marks.append(self.mark.exists())
        assert body["leader"] == ME
        if body["candidate"] in self.refuses:
            return 412, "no good candidates have been found"
        if not self.silent:
            self.leader = body["candidate"]
        time.sleep(self.seconds)
        return 200, "Successfully switched over"


class Place:
    """The script, its Patroni and the replicas that psql reports."""

    def __init__(self, root: Path) -> None:
        self.root, self.mark = root, root / "socket.planned"
        self.patroni = patroni = Patroni(mark=self.mark)
        (root / "bin").mkdir()
        (root / "replicas").touch()
        psql = root / "bin/psql"
        psql.write_text(f'#!/bin/sh\necho "$*" >{root}/query\ncat {root}/replicas\n')
        psql.chmod(0o755)

        class Handler(BaseHTTPRequestHandler):
            def answer(self, code: int, body: Any) -> None:
                self.send_response(code)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def do_GET(self) -> None:
                self.answer(*patroni.get(self.path))

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                self.answer(*patroni.post(json.loads(self.rfile.read(length))))

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def begin(self, *replicas: str, patience: int = 0, limit: int = 40_000) -> subprocess.Popen[bytes]:
        (self.root / "replicas").write_text("".join(f"{name}\n" for name in replicas))
        environment = {
            "PATH": f"{self.root}/bin:{os.environ['PATH']}",
            "PGHOST": f"{self.root}/socket",
            "PATRONI_SCHEME": "http",
            "PATRONI_NAME": ME,
            "PATRONI_RESTAPI_CONNECT_ADDRESS": f"127.0.0.1:{self.server.server_port}",
            "HAND_OVER_PATIENCE": str(patience),
            "HAND_OVER_LIMIT": str(limit),
        }
        command = ["bash", str(scripts.folder() / "hand-over.sh")]
        return subprocess.Popen(command, env=environment)

    def run(self, *replicas: str, patience: int = 0, limit: int = 40_000) -> float:
        """Run the script to its end, and return the seconds that it took."""
        began = time.monotonic()
        self.begin(*replicas, patience=patience, limit=limit).wait(60)
        return time.monotonic() - began


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_the_best_replica_leads_and_the_stop_is_planned(place: Place) -> None:
    place.run(A, B)
    assert (place.patroni.asked, place.patroni.marks) == ([A], [True])


def test_it_ends_as_soon_as_another_member_leads(place: Place) -> None:
    """Patroni's own answer comes up to a second later; here much later."""
    place.patroni.seconds = 30
    assert place.run(A) < 20
    assert place.patroni.leader == A


def test_the_next_best_is_asked_for_when_patroni_refuses(place: Place) -> None:
    place.patroni.refuses = {A}
    place.run(A, B)
    assert place.patroni.asked == [A, B]
    place.patroni.leader, place.patroni.refuses = ME, {A, B}
    place.run(A, B)
    assert place.patroni.asked == [A, B, A, B]


@pytest.mark.parametrize("what", ["a replica", "paused", "no Patroni"])
def test_nothing_is_done(place: Place, what: str) -> None:
    place.patroni.is_primary, place.patroni.paused = what != "a replica", what == "paused"
    if what == "no Patroni":
        place.server.server_close()
    place.run(A, B)
    assert place.patroni.asked == []
    assert not place.mark.exists()


def test_without_a_replica_only_the_stop_is_planned(place: Place) -> None:
    assert place.run(patience=60_000) < 30, "no operator could do more"
    assert place.patroni.asked == []
    assert place.mark.exists()


def test_a_switchover_that_hangs_is_not_waited_for_any_longer(place: Place) -> None:
    place.patroni.silent, place.patroni.seconds = True, 30
    assert 4 < place.run(A, B, limit=4000) < 25
    assert place.patroni.asked == [A]


def test_the_operator_comes_first(place: Place) -> None:
    process = place.begin(A, B, patience=60_000)
    time.sleep(0.5)
    place.mark.touch()
    place.patroni.leader = B
    process.wait(30)
    assert place.patroni.asked == []


def test_an_operator_that_does_not_finish_is_waited_for_eight_seconds(place: Place) -> None:
    place.mark.touch()
    assert place.run(A, patience=2000) > 8
    assert place.patroni.asked == [A]


def test_a_mark_of_something_before_is_no_operator(place: Place) -> None:
    place.mark.touch()
    os.utime(place.mark, (time.time() - 10,) * 2)
    assert place.run(A, patience=500) < 8
    assert place.patroni.asked == [A]


def test_only_replicas_that_stream_and_with_synchronous_replication_only_such(place: Place) -> None:
    place.run(A)
    query = (place.root / "query").read_text()
    assert "state = 'streaming'" in query
    assert "current_setting('synchronous_standby_names') = '' OR sync_state IN ('sync', 'quorum')" in query
