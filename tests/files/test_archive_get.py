"""The requests of `restore_command` to the archive, run with a stand-in for pgBackRest."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgoperator.postgres import pgbackrest
from tests.support import scripts

SCRIPT = scripts.folder() / "archive-get.sh"
SEGMENT, HISTORY = "000000020000000000000003", "00000002.history"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder; the archive has everything, and `asked` what it was asked for."""
    folder = tmp_path / "pg17"
    (folder / "pg_wal").mkdir(parents=True)
    answer(tmp_path, 0)
    return folder


def answer(tmp_path: Path, status: int) -> None:
    program = tmp_path / "bin" / "pgbackrest"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/bash\necho "${{@: -2:1}}" >>{tmp_path}/asked\nexit {status}\n')
    program.chmod(0o755)


def get(data: Path, name: str) -> int:
    """Run the command as PostgreSQL does, from its data folder with a file and its target."""
    top = data.parent
    mark = {
        "ARCHIVE_UNREACHABLE": str(top / "mark"),
        "CONFIGURATION": str(top),
        "PATH": f"{top / 'bin'}:/usr/bin:/bin",
    }
    command = ["bash", str(SCRIPT), name, "pg_wal/RECOVERYXLOG"]
    return subprocess.run(command, cwd=data, env=mark, timeout=60, check=False).returncode


def asked(data: Path) -> list[str]:
    path = data.parent / "asked"
    return path.read_text().split() if path.exists() else []


def test_what_is_not_here_is_fetched(data: Path) -> None:
    assert get(data, SEGMENT) == 0
    assert get(data, HISTORY) == 0
    assert asked(data) == [SEGMENT, HISTORY]


def test_nothing_is_fetched_from_repositories_that_may_belong_to_another_cluster(data: Path) -> None:
    config = data.parent / "pgbackrest_instance.conf"
    text = pgbackrest.instance_conf(
        repos=[pgbackrest.Repo("repo1", "volume")],
        repo_host=None,
        pg_path="/p",
        pg_port=5432,
        overrides={},
        confirmed=False,
    )
    config.write_text(text)
    assert [get(data, name) for name in (SEGMENT, HISTORY)] == [1, 1]
    assert asked(data) == []
    config.write_text(text.partition("\n")[2])
    assert get(data, SEGMENT) == 0


def test_a_history_that_is_here_is_not_asked_for(data: Path) -> None:
    (data / "pg_wal" / HISTORY).write_text("1\t0/3000000\tno recovery target specified\n")
    (data / "pg_wal" / SEGMENT).write_text("of an older life, perhaps")
    assert get(data, HISTORY) == 1
    assert asked(data) == []
    # Only the archive knows later timelines, and a segment may be complete there.
    assert get(data, "00000003.history") == 0
    assert get(data, SEGMENT) == 0
    assert asked(data) == ["00000003.history", SEGMENT]


def test_an_empty_history_is_asked_for(data: Path) -> None:
    (data / "pg_wal" / HISTORY).touch()
    assert get(data, HISTORY) == 0


@pytest.mark.parametrize(("status", "again"), [(1, True), (82, False)])
def test_an_archive_that_fails_is_left_alone_for_a_while(data: Path, status: int, again: bool) -> None:
    answer(data.parent, status)
    assert get(data, SEGMENT) == 1
    assert get(data, SEGMENT) == 1
    assert asked(data) == [SEGMENT] * (2 if again else 1)


@contextmanager
def repository(state: str) -> Iterator[int]:
    """A port that answers, is silent, as on a node that is gone, or refuses."""
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        port = int(server.getsockname()[1])
        if state != "refuses":
            server.listen(0 if state == "silent" else 5)
        if state == "silent":
            # The queue is full, so the kernel drops what comes next.
            for client in (first, second):
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", port))
        yield port


@pytest.mark.parametrize(("state", "times"), [("answers", 2), ("silent", 0), ("refuses", 0)])
def test_a_repository_host_on_a_dead_node_delays_nothing(data: Path, state: str, times: int) -> None:
    with repository(state) as port:
        text = f"[global]\nrepo1-host=127.0.0.1\nrepo1-host-port={port}\nrepo1-path=/r\n"
        (data.parent / "pgbackrest.conf").write_text(text)
        began = time.monotonic()
        assert get(data, SEGMENT) == get(data, HISTORY) == (0 if times else 1)
        assert asked(data) == [SEGMENT, HISTORY][:times]
    assert time.monotonic() - began < 2.5, "less than pgBackRest's limit, and once only"


def test_another_repository_is_asked_instead(data: Path) -> None:
    with repository("silent") as port:
        text = f"repo1-host = 127.0.0.1\nrepo1-host-port = {port}\nrepo1-path = /r\nrepo2-path = /s\n"
        (data.parent / "pgbackrest.conf").write_text(text)
        assert get(data, SEGMENT) == 0
        assert asked(data) == [SEGMENT]
