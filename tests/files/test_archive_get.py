"""What `restore_command` asks the archive for, run for real with a program that stands for pgBackRest."""

import subprocess
from pathlib import Path

import pytest

from reconcilers import files

SCRIPT = Path(files.__file__).parent / "archive-get.sh"
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
    """PostgreSQL names the file, and where to put it, from its data folder."""
    top = data.parent
    mark = {"ARCHIVE_UNREACHABLE": str(top / "mark"), "PATH": f"{top / 'bin'}:/usr/bin:/bin"}
    command = ["bash", str(SCRIPT), name, "pg_wal/RECOVERYXLOG"]
    return subprocess.run(command, cwd=data, env=mark, timeout=60, check=False).returncode


def asked(data: Path) -> list[str]:
    path = data.parent / "asked"
    return path.read_text().split() if path.exists() else []


def test_what_is_not_here_is_fetched(data: Path) -> None:
    assert get(data, SEGMENT) == 0
    assert get(data, HISTORY) == 0
    assert asked(data) == [SEGMENT, HISTORY]


def test_a_history_that_is_here_is_not_asked_for(data: Path) -> None:
    (data / "pg_wal" / HISTORY).write_text("1\t0/3000000\tno recovery target specified\n")
    (data / "pg_wal" / SEGMENT).write_text("of an older life, perhaps")
    assert get(data, HISTORY) == 1
    assert asked(data) == []
    # Whether there is a later timeline only the archive knows, and a segment may be whole there.
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
