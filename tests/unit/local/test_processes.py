import os
import subprocess
from pathlib import Path

import pytest

from local import shell
from local.console import LocalError
from local.processes import Processes, kill_all
from local.shell import write


def test_process_is_found_by_another_reader_and_ended(tmp_path: Path) -> None:
    Processes(tmp_path).start("sleeper", ["sleep", "60"])
    other = Processes(tmp_path)
    assert other.names() == ["sleeper"]
    assert other.alive("sleeper")
    other.kill(["sleeper"])
    assert not other.alive("sleeper")
    assert other.names() == []


def test_record_of_an_id_that_is_somebody_elses_now_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "old.pid").write_text(f"{os.getpid()} 1\n")  # this process, but another start time
    processes = Processes(tmp_path)
    assert not processes.alive("old")
    processes.kill(["old"])  # would end the test run
    assert processes.names() == []


def test_ended_process_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    processes.start("liar", ["sh", "-c", "echo no such flag; exit 1"])
    shell.wait_for("end of the process", lambda: not processes.alive("liar"), 5)
    with pytest.raises(LocalError, match="no such flag"):
        processes.check(["liar"])


def test_processes_of_others_are_killed_by_id() -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        assert kill_all([sleeper.pid]) == []


def test_unknown_ids_are_no_error() -> None:
    assert kill_all([2**22 + 1]) == []


def test_failed_command_says_why() -> None:
    with pytest.raises(LocalError, match="exit status 3: the reason"):
        shell.output(["sh", "-c", "echo the reason >&2; exit 3"])


def test_file_is_written_whole_and_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "secret"
    write(path, "first")
    write(path, "second", 0o600)
    assert path.read_text() == "second"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["secret"]


def test_waiting_ends_with_what_was_awaited() -> None:
    with pytest.raises(LocalError, match="timeout after 0 s; condition not met: the moon is full"):
        shell.wait_for("the moon is full", lambda: False, 0.05, 0.01)
