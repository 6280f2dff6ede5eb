"""The scripts that call Patroni's REST API, run against a stand-in for Patroni."""

import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Protocol

import pytest

from tests.support import scripts

SCRIPTS = scripts.folder()


class Answer(BaseHTTPRequestHandler):
    """Answer with the status in the path, and record the request."""

    asked: list[tuple[str, str]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.asked.append((self.path, body))
        code = int(self.path.strip("/"))
        self.send_response(code)
        self.end_headers()
        self.wfile.write(f"said with {code}".encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class Member(Protocol):
    def __call__(
        self, script: str, code: int, *more: str, in_recovery: str = "t"
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def member(tmp_path: Path) -> Iterator[Member]:
    """A stand-in for a Patroni member, and a psql whose answer is in a file."""
    Answer.asked = []
    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    psql = tmp_path / "bin/psql"
    psql.parent.mkdir()
    psql.write_text(f"#!/bin/sh\ncat {tmp_path}/in-recovery\n")
    psql.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{psql.parent}:{os.environ['PATH']}",
        "PATRONI_SCHEME": "http",
        "TMPDIR": str(tmp_path),
    }
    address = f"127.0.0.1:{server.server_port}"

    def run(script: str, code: int, *more: str, in_recovery: str = "t") -> subprocess.CompletedProcess[str]:
        (tmp_path / "in-recovery").write_text(in_recovery)
        command = ["bash", str(SCRIPTS / script), address, str(code), "{}", *more]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=30, check=False
        )

    yield run
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("code", "status"), [(200, 0), (202, 0), (412, 1), (503, 1)])
def test_an_answer_counts_by_its_code(member: Member, code: int, status: int) -> None:
    done = member("patroni.sh", code)
    assert done.returncode == status
    assert f"said with {code}" in (done.stderr if status else done.stdout)
    assert Answer.asked == [(f"/{code}", "{}")]


def test_a_promotion_ends_the_wait(member: Member) -> None:
    assert member("switchover.sh", 200, "20", in_recovery="f").returncode == 0


def test_a_refusal_is_told(member: Member) -> None:
    done = member("switchover.sh", 412, "20")
    assert done.returncode == 1
    assert "said with 412" in done.stderr


def test_a_promotion_that_does_not_come_is_given_up(member: Member) -> None:
    """Patroni may have chosen another member."""
    done = member("switchover.sh", 200, "1")
    assert done.returncode == 1
    assert "no promotion within 1 s" in done.stderr
