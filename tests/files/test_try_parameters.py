"""try-parameters.sh and the memory check of postgres.sh, with a real PostgreSQL."""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pgoperator.postgres.parameters import file_lines
from tests.support import scripts
from tests.support.local_postgres import binaries, identity
from tests.support.local_server import LONG, Server

STARTS, DOES_NOT_START = 0, 3


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that runs; nothing may stop it."""
    made = Server.create("")
    try:
        made.start()
        yield made
    finally:
        made.end()


def attempt(server: Server, values: Mapping[str, object], *names: str, **more: str) -> tuple[int, str]:
    """Try the parameters; return status and standard error. Nothing of the trial may be left."""
    before, scratch = server.postmaster(), server.root / "tmp"
    server.run("mkdir", "-p", str(scratch))
    done = subprocess.run(  # type: ignore[call-overload]
        ["bash", scripts.folder() / "try-parameters.sh", *(names or values)],
        # Without the wrapper of Patroni's PATH, as in a command in the container.
        env=server.environment() | {"PATH": f"{binaries()}:/usr/bin:/bin", "TMPDIR": str(scratch)} | more,
        input=file_lines(values),
        capture_output=True,
        text=True,
        check=False,
        timeout=LONG,
        **identity(),
    )
    assert server.postmaster() == before
    assert server.sql("SELECT 1") == "1"
    assert list(scratch.glob("[!.]*")) == []
    assert [one for one in Path("/proc").glob("[0-9]*") if _is_below(one, scratch)] == []
    return done.returncode, done.stderr.strip()


def _is_below(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").readlink().is_relative_to(folder)
    except OSError:
        return False


def test_parameters_with_which_postgresql_starts(server: Server) -> None:
    server.run("mkdir", "-p", str(server.root / "tmp/try-parameters.interrupted/data"))
    values = {"max_connections": 150, "shared_buffers": "32MB", "cluster_name": r"it's \ odd"}
    assert attempt(server, values) == (STARTS, "")


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        (
            {"max_connections": "20", "max_wal_senders": "10", "superuser_reserved_connections": "25"},
            "must be",
        ),
        ({"wal_level": "minimal", "archive_mode": "on"}, "WAL archival cannot be enabled"),
        ({"shared_preload_libraries": "plpgsql, no-such/library"}, 'could not access file "no-such/library"'),
        ({"max_connections": "many"}, 'invalid value for parameter "max_connections"'),
        ({"shared_buffers": "900TB"}, "Value exceeds integer range"),
    ],
)
def test_parameters_with_which_it_does_not(server: Server, values: dict[str, str], cause: str) -> None:
    status, reported = attempt(server, values)
    assert status == DOES_NOT_START
    assert cause in reported


def test_shared_buffers_are_compared_with_the_memory_and_not_tried(server: Server) -> None:
    (server.root / "memory.max").write_text(f"{512 << 20}\n")
    limited = {"CGROUP": str(server.root)}
    status, reported = attempt(server, {"shared_buffers": "512MB"}, **limited)
    assert (status, reported) == (DOES_NOT_START, "shared_buffers is 512 MB, but the memory is only 512 MB")
    assert attempt(server, {"shared_buffers": "256MB"}, **limited) == (STARTS, "")
    (server.root / "memory.max").write_text("max\n")
    (server.root / "meminfo").write_text("MemTotal:       1048576 kB\nHugePages_Total:       0\n")
    on_node = limited | {"MEMINFO": str(server.root / "meminfo")}
    status, reported = attempt(server, {"shared_buffers": "8000GB"}, **on_node)
    assert (status, reported) == (
        DOES_NOT_START,
        "shared_buffers is 8192000 MB, but the memory is only 1024 MB",
    )
    (server.root / "meminfo").write_text("MemTotal:       131072 kB\nHugePages_Total:       512\n")
    assert attempt(server, {"shared_buffers": "256MB", "huge_pages": "on"}, **on_node) == (STARTS, "")


def test_a_library_that_the_image_lacks_is_left_out_as_at_a_real_start(server: Server) -> None:
    assert attempt(server, {"shared_preload_libraries": "plpgsql, absent"}) == (STARTS, "")


def test_what_needs_no_restart_is_not_tried(server: Server) -> None:
    wrong = {"work_mem": "8MB", "max_connections": "many"}
    assert attempt(server, wrong, "work_mem", "no.such") == (STARTS, "")


def test_values_of_alter_system_count(server: Server) -> None:
    server.sql("ALTER SYSTEM SET superuser_reserved_connections = 40")
    try:
        status, reported = attempt(server, {"max_connections": "30", "max_wal_senders": "5"})
    finally:
        server.sql("ALTER SYSTEM RESET superuser_reserved_connections")
    assert status == DOES_NOT_START
    assert "must be less than" in reported


def test_without_a_server_or_room_nothing_is_said_of_the_parameters(server: Server) -> None:
    values = {"max_connections": "150"}
    status, reported = attempt(server, values, PGHOST="/nowhere")
    assert status not in (STARTS, DOES_NOT_START)
    assert "/nowhere" in reported
    status, reported = attempt(server, values, TMPDIR="/proc")
    assert status not in (STARTS, DOES_NOT_START)


def test_a_server_whose_shared_buffers_exceed_the_memory_is_not_started() -> None:
    made = Server.create("shared_buffers = 64MB\n")
    try:
        (made.root / "memory.max").write_text(f"{64 << 20}\n")
        limited = made.environment() | {"CGROUP": str(made.root)}
        done = subprocess.run(  # type: ignore[call-overload]
            [f"{made.root}/first/postgres", "-D", str(made.data)],
            env=limited,
            capture_output=True,
            text=True,
            check=False,
            timeout=LONG,
            **identity(),
        )
    finally:
        made.end()
    assert done.returncode == 1
    assert done.stderr.strip() == "not started: shared_buffers is 64 MB, but the memory is only 64 MB"
