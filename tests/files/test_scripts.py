"""The containers' scripts, run in temporary folders."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from reconcilers import files
from tests.support import scripts

T = TypeVar("T")
SCRIPTS = scripts.folder()
# It waits for signals instead of handling them: a signal just before a sleep would be noticed after it.
CHILD = """\
import os, signal, sys
out = open(sys.argv[1], "a", buffering=1)
signals = [getattr(signal, "SIG" + name) for name in ("TERM", "INT", "QUIT", "HUP", "USR1")]
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
out.write("ready " + " ".join(sorted(os.listdir("/proc/self/fd"))) + "\\n")
while (number := signal.sigwait(signals)) != signal.SIGTERM:
    out.write(signal.Signals(number).name + "\\n")
out.write("SIGTERM\\n")
sys.exit(7)
"""


def wait_for(condition: Callable[[], T], seconds: float = 10.0) -> T:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.02)
    pytest.fail("it did not happen in time")


def project(volume: Path, generation: int) -> None:
    """Update a volume as kubelet does: write a new folder, then swap the link atomically."""
    (volume / f"..{generation}").mkdir(parents=True)
    (volume / f"..{generation}/file").write_text(str(generation))
    (volume / "..new").symlink_to(f"..{generation}")
    (volume / "..new").rename(volume / "..data")
    if generation > 1:
        (volume / f"..{generation - 1}/file").unlink()
        (volume / f"..{generation - 1}").rmdir()


# A shell cannot trap signals that were ignored at its start, as under nohup and a shell's `&`.
HEED_ALL = ["env", "--default-signal=INT,QUIT,HUP"]


class Supervised:
    """A running supervise.sh with the child above, which checks five times a second."""

    def __init__(self, tmp_path: Path, *arguments: str | Path) -> None:
        self.notes = tmp_path / "notes"
        self.notes.touch()
        (tmp_path / "child.py").write_text(CHILD)
        command = [sys.executable, str(tmp_path / "child.py"), str(self.notes)]
        self.process = subprocess.Popen(
            [*HEED_ALL, "bash", SCRIPTS / "supervise.sh", *arguments, "--", *command],
            env=os.environ | {"SUPERVISE_SECONDS": "0.2"},
        )
        wait_for(lambda: self.lines)

    @property
    def lines(self) -> list[str]:
        return self.notes.read_text().splitlines()

    def tell(self, name: str) -> None:
        self.process.send_signal(getattr(signal, name))
        wait_for(lambda: name in self.lines)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    started: list[Supervised] = []

    def start(*arguments: str | Path) -> Supervised:
        started.append(Supervised(tmp_path, *arguments))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.terminate()
        one.process.wait(timeout=5)


def test_signals_reach_the_child_and_its_status_comes_back(
    supervised: Callable[..., Supervised], tmp_path: Path
) -> None:
    project(tmp_path / "volume", 1)
    one = supervised(tmp_path / "volume")
    for name in ("SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1"):
        one.tell(name)
        assert one.process.poll() is None
    one.tell("SIGTERM")
    assert one.process.wait(timeout=5) == 7


def test_each_change_of_a_volume_is_told_once(supervised: Callable[..., Supervised], tmp_path: Path) -> None:
    first, second = tmp_path / "first volume", tmp_path / "second"
    project(first, 1)
    project(second, 1)
    one = supervised("-s", "USR1", first, tmp_path / "absent", second)

    project(second, 2)
    wait_for(lambda: one.lines.count("SIGUSR1") == 1)
    project(first, 2)
    wait_for(lambda: one.lines.count("SIGUSR1") == 2)
    time.sleep(1)
    assert one.lines[1:] == ["SIGUSR1", "SIGUSR1"]


def test_a_script_is_told_the_child_at_the_start_and_after_each_change(
    supervised: Callable[..., Supervised], tmp_path: Path
) -> None:
    volume, reported = tmp_path / "volume", tmp_path / "reported"
    (tmp_path / "hook.sh").write_text(f'echo "$1" >>"{reported}"\n')
    project(volume, 1)
    one = supervised("-c", tmp_path / "hook.sh", volume)
    wait_for(lambda: reported.exists() and reported.read_text())
    project(volume, 2)
    wait_for(lambda: len(reported.read_text().splitlines()) == 2)
    child = Path(f"/proc/{one.process.pid}/task/{one.process.pid}/children").read_text().split()
    first, second = reported.read_text().splitlines()
    assert first == second
    assert first in child
    # The script may end before the child has written its note.
    wait_for(lambda: len(one.lines) > 1)
    assert one.lines[1:] == ["SIGHUP"]


def test_term_waits_for_its_script(supervised: Callable[..., Supervised], tmp_path: Path) -> None:
    (tmp_path / "term.sh").write_text(
        f"touch {tmp_path}/asked; until [ -e {tmp_path}/go ]; do sleep 0.1; done"
    )
    one = supervised("-t", tmp_path / "term.sh", tmp_path)
    one.process.send_signal(signal.SIGTERM)
    wait_for((tmp_path / "asked").exists)
    one.tell("SIGHUP")
    assert "SIGTERM" not in one.lines
    (tmp_path / "go").touch()
    assert one.process.wait(timeout=10) == 7


def test_a_second_term_and_other_ends_do_not_wait(
    supervised: Callable[..., Supervised], tmp_path: Path
) -> None:
    (tmp_path / "term.sh").write_text(f"touch {tmp_path}/asked; sleep 12")
    one = supervised("-t", tmp_path / "term.sh", tmp_path)
    one.process.send_signal(signal.SIGTERM)
    wait_for((tmp_path / "asked").exists)
    one.tell("SIGINT")
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(timeout=10) == 7


def children_of(one: Supervised) -> list[str]:
    return Path(f"/proc/{one.process.pid}/task/{one.process.pid}/children").read_text().split()


def kill_child(one: Supervised, times: int) -> None:
    """Kill the child when it is ready for the nth time."""
    wait_for(lambda: sum(line.startswith("ready") for line in one.lines) == times)
    python = [pid for pid in children_of(one) if "child.py" in Path(f"/proc/{pid}/cmdline").read_text()]
    os.kill(int(python[0]), signal.SIGKILL)


def test_a_killed_child_is_started_again_three_times_a_minute(
    supervised: Callable[..., Supervised], tmp_path: Path
) -> None:
    (tmp_path / "again.sh").write_text("exit 0")
    project(tmp_path / "volume", 1)
    one = supervised("-r", tmp_path / "again.sh", tmp_path / "volume")
    for times in (1, 2, 3):
        kill_child(one, times)
    wait_for(lambda: sum(line.startswith("ready") for line in one.lines) == 4)
    project(tmp_path / "volume", 2)
    wait_for(lambda: "SIGHUP" in one.lines)
    time.sleep(1)
    assert one.lines.count("SIGHUP") == 1, "of one watcher"
    kill_child(one, 4)
    assert one.process.wait(timeout=10) == 128 + signal.SIGKILL


@pytest.mark.parametrize("script", ["exit 1", "exec sleep 1000"])
def test_a_killed_child_ends_all_if_it_may_not_start_again(
    supervised: Callable[..., Supervised], tmp_path: Path, script: str
) -> None:
    """Because the script says so, or because the end was asked for."""
    (tmp_path / "script.sh").write_text(script)
    option = ("-r", tmp_path / "script.sh")
    one = supervised(*(option if script == "exit 1" else (*option, "-t", tmp_path / "script.sh")), tmp_path)
    if script != "exit 1":
        one.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
    kill_child(one, 1)
    assert one.process.wait(timeout=10) == 128 + signal.SIGKILL


class Bouncer:
    """A stand-in for pgBouncer that logs its signals, with a configuration, and the scripts run on both."""

    def __init__(self, tmp_path: Path, port: int) -> None:
        self.notes, self.config = tmp_path / "notes", tmp_path / "pgbouncer.ini"
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "TMPDIR": str(tmp_path),
            "PGBOUNCER_CONFIG": str(self.config),
            "PGBOUNCER_PORT": str(port),
        }
        self.notes.touch()
        (tmp_path / "child.py").write_text(CHILD.replace('"USR1")', '"USR1", "USR2")'))
        self.process = subprocess.Popen([sys.executable, tmp_path / "child.py", self.notes])
        wait_for(self.notes.read_text)

    def say(self, *first: str) -> None:
        self.config.write_text("\n".join([*first, "[pgbouncer]", ""]))

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", SCRIPTS / script, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    def pause(self, signals: str) -> None:
        """Run the script, after which the process has received these signals in total."""
        assert self.run("pgbouncer-pause.sh", str(self.process.pid)).returncode == 0
        wait_for(lambda: self.notes.read_text().split("\n", 1)[1].split() == signals.split())

    def state(self) -> str:
        return self.run("pgbouncer-pause.sh").stdout.strip()


@pytest.fixture
def bouncer(tmp_path: Path) -> Iterator[Bouncer]:
    """A stand-in for pgBouncer that accepts connections in a thread."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    connection.recv(8)
                    connection.sendall(b"N")

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    one = Bouncer(tmp_path, server.getsockname()[1])
    yield one
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(timeout=5)
    one.process.kill()
    one.process.wait(timeout=5)


def test_the_first_line_of_the_configuration_pauses_and_resumes(bouncer: Bouncer) -> None:
    bouncer.say()
    bouncer.pause("")
    assert bouncer.run("pgbouncer-check.sh").returncode == 0
    assert bouncer.state() == "running"

    bouncer.say(";; paused")
    assert bouncer.run("pgbouncer-check.sh").returncode == 1, "it takes queries that it must not take"
    bouncer.pause("SIGUSR1")
    assert bouncer.state() == "paused"
    assert bouncer.run("pgbouncer-check.sh").returncode == 0

    bouncer.say()
    bouncer.pause("SIGUSR1 SIGUSR2")
    assert bouncer.state() == "running"
    bouncer.pause("SIGUSR1 SIGUSR2")


def test_one_that_ends_before_it_listens_is_waited_for_no_longer(bouncer: Bouncer) -> None:
    bouncer.say(";; paused")
    bouncer.environment["PGBOUNCER_PORT"] = "1"
    bouncer.process.kill()
    bouncer.process.wait(timeout=5)
    assert bouncer.run("pgbouncer-pause.sh", str(bouncer.process.pid)).returncode == 0
    assert bouncer.state() == "running"


def test_hup_is_the_default_and_a_volume_may_come_late(
    supervised: Callable[..., Supervised], tmp_path: Path
) -> None:
    one = supervised(tmp_path / "volume")
    project(tmp_path / "volume", 1)
    wait_for(lambda: "SIGHUP" in one.lines)


def test_the_child_inherits_no_descriptor_of_ours(
    supervised: Callable[..., Supervised], tmp_path: Path
) -> None:
    project(tmp_path / "volume", 1)
    one = supervised(tmp_path / "volume")
    numbers = set(one.lines[0].split()[1:])
    # 0 to 2, its own file, and the listed folder; descriptors that pytest leaves open do not count.
    ours = {str(n) for n in range(10, 20)}
    assert not numbers & ours


def test_nothing_is_forked_while_nothing_happens(
    supervised: Callable[..., Supervised], tmp_path: Path
) -> None:
    project(tmp_path / "volume", 1)
    one = supervised(tmp_path / "volume")

    def children() -> set[str]:
        return set(Path(f"/proc/{one.process.pid}/task/{one.process.pid}/children").read_text().split())

    def counters() -> tuple[str, int]:
        """No process gets new children, and the script uses no process ids."""
        watcher = max(children(), key=int)
        return watcher, len(Path(f"/proc/{watcher}/task/{watcher}/children").read_text())

    wait_for(lambda: len(children()) == 2)
    before = children()
    time.sleep(1)
    assert children() == before
    assert counters() == (max(before, key=int), 0)


@pytest.mark.parametrize(
    ("command", "status"),
    [(["true"], 0), (["sh", "-c", "exit 3"], 3), (["sh", "-c", "kill -9 $$"], 137), (["no-such"], 127)],
)
def test_a_child_that_ends_ends_us_at_once(tmp_path: Path, command: list[str], status: int) -> None:
    project(tmp_path / "volume", 1)
    done = subprocess.run(
        ["bash", SCRIPTS / "supervise.sh", tmp_path / "volume", "--", *command],
        check=False,
        capture_output=True,
        env=os.environ | {"SUPERVISE_SECONDS": "60"},
        timeout=30,
    )
    assert done.returncode == status


@pytest.mark.parametrize("arguments", [[], ["x"], ["--"], ["-s", "HUP", "x"]])
def test_no_command_is_an_error(arguments: list[str]) -> None:
    done = subprocess.run(
        ["bash", SCRIPTS / "supervise.sh", *arguments], check=False, capture_output=True, timeout=5
    )
    assert done.returncode == 64
    assert b"usage" in done.stderr


Probe = Callable[[bytes | None], Awaitable[tuple[int, bytes]]]


@pytest.fixture
def probe() -> Probe:
    """Run the probe against a server that answers the given bytes, or nothing (None)."""

    async def run(answer: bytes | None) -> tuple[int, bytes]:
        seen = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.set_result(await reader.readexactly(8))
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            "/bin/bash",
            SCRIPTS / "pgbouncer-check.sh",
            env={"PGBOUNCER_PORT": str(port), "PATH": "/nowhere"},
            stderr=asyncio.subprocess.DEVNULL,
        )
        status = await asyncio.wait_for(process.wait(), 10)
        server.close()
        await server.wait_closed()
        return status, await seen

    return run


@pytest.mark.parametrize(
    ("answer", "healthy"), [(b"S", True), (b"N", True), (b"E", False), (b"", False), (None, False)]
)
async def test_probe(probe: Probe, answer: bytes | None, healthy: bool) -> None:
    status, request = await probe(answer)
    assert request == bytes([0, 0, 0, 8, 4, 210, 22, 48])  # GSSENCRequest
    assert (status == 0) == healthy


def test_probe_without_a_server() -> None:
    environment = {"PGBOUNCER_PORT": "1", "PATH": "/nowhere"}
    done = subprocess.run(
        ["/bin/bash", SCRIPTS / "pgbouncer-check.sh"],
        env=environment,
        check=False,
        capture_output=True,
        timeout=5,
    )
    assert done.returncode != 0


class Container:
    """A stand-in for the image: programs that print their arguments, and a data volume."""

    def __init__(self, root: Path, version: str = "postgres (PostgreSQL) 99.5 (Debian 99.5-1)") -> None:
        self.root, self.data = root, root / "pgdata/pg99"
        self.log = root / "termination-log"
        (root / "bin").mkdir()
        (root / "pgdata").mkdir()
        self.program("postgres", f"echo '{version}'")
        for name in ("patroni", "pgbackrest", "pgbouncer"):
            self.program(name, f'echo "{name} $* as $(id -un)"')

    def program(self, name: str, text: str) -> None:
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        values = {
            "PATH": f"{self.root}/bin:/usr/bin:/bin",
            "PGDATA": str(self.data),
            "PGHOST": str(self.root / "socket"),
            "PGVERSION": "99",
            "TERMINATION_LOG": str(self.log),
        }
        command = ["bash", str(SCRIPTS / script), *arguments]
        return subprocess.run(
            command, env=values | environment, capture_output=True, text=True, check=False, timeout=20
        )


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(tmp_path)


def test_database_prepares_the_volume_and_runs_patroni(container: Container) -> None:
    done = container.run("database.sh")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("patroni /etc/patroni as ")
    assert container.data.stat().st_mode & 0o777 == 0o700
    for folder in ("socket", "pgdata/pgbackrest/log", "pgdata/pgbackrest-spool"):
        assert (container.root / folder).is_dir()
    assert container.run("database.sh").returncode == 0


def test_database_keeps_what_is_there(container: Container) -> None:
    container.data.mkdir(mode=0o770)
    (container.data / "PG_VERSION").write_text("99\n")
    (container.data / "row").write_text("x")
    Path(f"{container.data}_bootstrap").mkdir()
    assert container.run("database.sh").returncode == 0
    assert (container.data / "row").read_text() == "x"
    assert container.data.stat().st_mode & 0o777 == 0o700
    assert Path(f"{container.data}_bootstrap").is_dir()


@pytest.mark.parametrize("empty_folder_is_there", [True, False])
def test_database_adopts_what_a_restore_has_left(container: Container, empty_folder_is_there: bool) -> None:
    if empty_folder_is_there:
        container.data.mkdir()
    restored = Path(f"{container.data}_bootstrap")
    restored.mkdir()
    (restored / "PG_VERSION").write_text("99\n")
    assert container.run("database.sh").returncode == 0
    assert (container.data / "PG_VERSION").exists()
    assert not restored.exists()


def directory(path: Path) -> Path:
    """A data directory."""
    path.mkdir()
    (path / "PG_VERSION").write_text("99\n")
    return path


@pytest.mark.parametrize("name", ["pg99_restore", "pg99_before_1", "pg98_before_1"])
@pytest.mark.parametrize("empty_folder_is_there", [True, False])
def test_database_does_not_start_empty_beside_data(
    container: Container, name: str, empty_folder_is_there: bool
) -> None:
    """It would be a new instance, or take the oldest of several for the present one."""
    beside = directory(container.root / "pgdata" / name)
    if empty_folder_is_there:
        container.data.mkdir()
    done = container.run("database.sh")
    assert done.returncode == 1
    assert f"{container.data} is missing, but {beside} holds a data directory" in container.log.read_text()
    assert (beside / "PG_VERSION").exists()
    beside.rename(container.data)
    assert container.run("database.sh").returncode == 0


def test_database_does_not_start_empty_beside_data_of_another_version(container: Container) -> None:
    former = directory(container.root / "pgdata" / "pg98")
    done = container.run("database.sh")
    assert done.returncode == 1
    assert f"{former} holds data of PostgreSQL 98" in container.log.read_text()
    assert "set it to 98" in container.log.read_text()


def test_database_goes_back_to_the_data_that_an_unfinished_restore_names(container: Container) -> None:
    """Killed between its two renames; of another restore something is left, too."""
    directory(container.root / "pgdata/pg99_before_1")
    (directory(container.root / "pgdata/pg99_before_2") / "row").write_text("x")
    directory(container.root / "pgdata/pg99_restore")
    (container.root / "pgdata/pg99_unfinished").write_text("2 beside kept -\n")
    done = container.run("database.sh")
    assert done.returncode == 0, done.stderr
    assert (container.data / "row").exists()
    left = sorted(path.name for path in (container.root / "pgdata").glob("pg99*"))
    assert left == ["pg99", "pg99_before_1"]


def test_database_does_not_start_on_half_of_a_restore(container: Container) -> None:
    half = directory(container.root / "pgdata/pg99_restore")
    (container.root / "pgdata/pg99_unfinished").write_text("2 over 1234 -\n")
    for _ in range(2):
        done = container.run("database.sh")
        assert done.returncode == 1
        assert "has changed it before it failed" in container.log.read_text()
        assert not container.data.exists()
        assert half.exists()


@pytest.mark.parametrize("kind", ["beside kept -", "over 1234 -"])
def test_database_starts_on_whole_data_and_forgets_the_restore(container: Container, kind: str) -> None:
    directory(container.data)
    (container.root / "pgdata/pg99_unfinished").write_text(f"2 {kind}\n")
    assert container.run("database.sh").returncode == 0
    assert not (container.root / "pgdata/pg99_unfinished").exists()
    assert (container.data / "PG_VERSION").exists()


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (
            lambda c: c.program("postgres", "echo 'postgres (PostgreSQL) 16.1'"),
            "image holds PostgreSQL 16, but spec.postgresVersion is 99",
        ),
        (lambda c: c.program("postgres", "echo nonsense"), "calls itself 'nonsense'"),
        (lambda c: c.program("postgres", "exit 1"), "no program postgres"),
        (
            lambda c: (c.data.mkdir(), (c.data / "PG_VERSION").write_text("15\n")),
            "is of PostgreSQL 15, but spec.postgresVersion is 99",
        ),
        (lambda c: (c.root / "pgdata/pgbackrest").write_text(""), "not writable"),
    ],
)
def test_database_says_in_one_sentence_why_it_cannot_start(
    container: Container, prepare: Callable[[Container], object], sentence: str
) -> None:
    prepare(container)
    done = container.run("database.sh")
    assert done.returncode == 1
    assert "patroni" not in done.stdout
    assert sentence in container.log.read_text()
    assert sentence in done.stderr


def test_database_sleeps_as_long_as_the_file_is_there(container: Container) -> None:
    marker = container.root / "pgdata/sleep-forever"
    marker.touch()
    container.program(
        "sleep", f'echo "$1"; [ -e {container.root}/again ] && rm {marker}; touch {container.root}/again'
    )
    done = container.run("database.sh")
    assert (done.returncode, done.stdout) == (0, "3\n3\n")


def test_database_checks_writes_as_long_as_patroni_runs(container: Container) -> None:
    container.program("dd", f"echo looked >>{container.root}/looks; exit 1")
    wait = f"until [ -s {container.root}/looks ]; do sleep 0.1; done"
    container.program("patroni", f": >$PGDATA/postmaster.pid; {wait}; echo patroni ends")
    done = container.run("database.sh", CHECK_SECONDS="0.2", HOSTNAME="p-0", SERVICE_ACCOUNT="/none")
    assert (done.returncode, done.stdout) == (0, "patroni ends\n"), done.stderr


def test_database_has_a_watchdog_that_patroni_reaches_and_that_ends_with_it(container: Container) -> None:
    """A Patroni that ends without releasing its lock leaves no primary behind."""
    container.data.mkdir()
    (container.root / "real").mkdir()
    program = Path(shutil.copy(shutil.which("sleep") or "/bin/sleep", container.root / "real/postgres"))
    server = subprocess.Popen([program, "1000"], cwd=container.data)
    (container.data / "postmaster.pid").write_text(f"{server.pid}\n")
    container.program("patroni", '[ -p "$PGHOST.watchdog" ] && echo Ctimeout=3600 >"$PGHOST.watchdog"')
    done = container.run("database.sh")
    assert done.returncode == 0, done.stderr
    assert server.wait(timeout=30) == -signal.SIGKILL
    assert f"killing PostgreSQL ({server.pid})" in done.stderr


class Start(Protocol):
    """Start the program with these libraries listed; return its output and its errors."""

    def __call__(self, listed: str, *arguments: str, **environment: str) -> tuple[str, str]: ...


@pytest.fixture
def image(container: Container) -> Start:
    """An image with the library `there`, whose `postgres` prints its arguments."""
    (container.root / "lib").mkdir()
    for name in ("plpgsql", "there"):
        (container.root / f"lib/{name}.so").touch()
    answers = """
    case "$*" in
    *"-C shared_preload_libraries") cat "$LISTED" ;;
    *"-C dynamic_library_path") echo "${SEARCHED:-\\$libdir}" ;;
    *) echo "postgres $*" ;;
    esac"""
    container.program("postgres", answers)
    (container.root / "first").mkdir()
    program = container.root / "first/postgres"
    program.symlink_to(SCRIPTS / "postgres.sh")

    def start(listed: str, *arguments: str, **environment: str) -> tuple[str, str]:
        (container.root / "listed").write_text(listed + "\n")
        values = {
            "PATH": f"{container.root}/first:{container.root}/bin:/usr/bin:/bin",
            "LISTED": str(container.root / "listed"),
            "PGDATA": str(container.root / "data"),
        }
        done = subprocess.run(
            [program, *arguments],
            env=values | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip(), done.stderr.strip()

    return start


@pytest.mark.parametrize("listed", ["", "there", "there, $libdir/elsewhere"])
def test_postgres_is_started_as_it_is_where_nothing_is_missing(image: Start, listed: str) -> None:
    assert image(listed, "-D", "data", "--port=1") == ("postgres -D data --port=1", "")


def test_postgres_is_started_without_libraries_that_the_image_lacks(image: Start) -> None:
    out, reported = image('absent, "there",gone', "-D", "data", "--port=1")
    assert out == "postgres -c shared_preload_libraries=there -D data --port=1"
    assert "absent, gone" in reported
    out, _ = image("absent", "--single", "-D", "data", "template1")
    assert out == "postgres --single -c shared_preload_libraries= -D data template1"


def test_postgres_takes_libraries_from_elsewhere_for_granted(image: Start) -> None:
    assert image("absent", "-D", "data", SEARCHED="/mine:$libdir") == ("postgres -D data", "")
    assert image("absent", "--version") == ("postgres --version", "")


def test_an_id_without_a_name_gets_one(container: Container) -> None:
    library = next(Path("/usr/lib").rglob("libnss_wrapper.so*"), None)
    assert library, "these tests need nss_wrapper: apt-get install libnss-wrapper"
    # The script's text, because the account may have no access to a clone in a home folder.
    code = (SCRIPTS / "account.sh").read_text() + "\nid -un; id -gn"
    account: dict[str, Any] = {"user": 12345, "group": 12345, "extra_groups": []} if os.getuid() == 0 else {}
    done = subprocess.run(
        ["bash", "-eu", "-c", code],
        env={"PATH": "/usr/bin:/bin", "NSS_WRAPPER_LIBRARY": str(library)},
        capture_output=True,
        text=True,
        check=False,
        **account,
    )
    assert done.stderr == ""
    assert done.stdout.split()[0] == ("postgres" if os.getuid() == 0 else done.stdout.split()[0])


def test_pgbouncer_is_started_with_the_given_file(container: Container) -> None:
    done = container.run("pgbouncer.sh", "/etc/pgbouncer/~postgres-operator.ini")
    assert done.stdout.startswith("pgbouncer /etc/pgbouncer/~postgres-operator.ini as ")


def test_pgbackrest_server_is_started(container: Container) -> None:
    done = container.run("pgbackrest-server.sh")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("pgbackrest server as ")


def test_read_and_digest() -> None:
    assert files.read("supervise.sh").startswith("#!/bin/bash\n")
    one, two = files.digest(["supervise.sh"]), files.digest(["database.sh"])
    assert one != two
    assert files.digest(["supervise.sh", "database.sh"]) == files.digest(["database.sh", "supervise.sh"])
    assert len(one) == 16
    assert {"database.sh", "supervise.sh", "pgbouncer-check.sh"} <= set(files.SCRIPTS)


@pytest.mark.parametrize("name", files.SCRIPTS)
def test_shellcheck_finds_nothing(name: str) -> None:
    beside = Path(sys.executable).with_name("shellcheck")
    shellcheck = beside if beside.exists() else "shellcheck"
    done = subprocess.run(
        [shellcheck, "-x", str(files.path(name))],
        cwd=Path(files.__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
