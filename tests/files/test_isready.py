"""`isready.sh` with a scripted `pg_isready`."""

import shutil
import subprocess
from pathlib import Path
from typing import Protocol

import pytest

from reconcilers import files


class Starting(Protocol):
    """Return the status, the output and the number of questions that `pg_isready` was asked."""

    def __call__(self, *words: int, running: bool = True) -> tuple[int, str, int]: ...


@pytest.fixture
def starting(tmp_path: Path) -> Starting:
    """Run the script with a `pg_isready` that gives these answers and repeats the last."""
    answers, asked = tmp_path / "answers", tmp_path / "asked"
    answer = f"""#!/bin/bash
        echo "$*" >>{asked}; number=$(wc -l <{asked})
        read -r status < <(sed -n "$number p" {answers}; tail -n 1 {answers})
        echo "said $status"; exit "$status"
    """
    for folder, text in (("first", files.read("isready.sh")), ("bin", answer)):
        (tmp_path / folder).mkdir()
        program = tmp_path / folder / "pg_isready"
        program.write_text(text)
        program.chmod(0o755)
    server = shutil.copy(shutil.which("bash") or "/bin/bash", tmp_path / "bin/postgres")

    def ask(*words: int, running: bool = True) -> tuple[int, str, int]:
        asked.unlink(missing_ok=True)
        answers.write_text("".join(f"{word}\n" for word in words))
        data = str(tmp_path if running else tmp_path / "other")
        process = subprocess.Popen([server, "-c", "read -r", "-", "-D", data], stdin=subprocess.PIPE)
        done = subprocess.run(
            [tmp_path / "first/pg_isready", "-p", "5432"],
            env={"PGDATA": str(tmp_path), "PATH": f"{tmp_path}/first:{tmp_path}/bin:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        process.communicate()
        return done.returncode, done.stdout, asked.read_text().count("-p 5432\n")

    return ask


@pytest.mark.parametrize("word", [0, 3])
def test_a_ready_server_is_told_at_once(starting: Starting, word: int) -> None:
    assert starting(word) == (word, f"said {word}\n", 1)


def test_a_server_that_becomes_ready_is_told_as_soon_as_it_is(starting: Starting) -> None:
    """On a slow machine a question may take a second and the answer be "no", so the test tries ten times."""
    assert (0, "said 0\n", 3) in [starting(2, 1, 0) for _ in range(10)]


@pytest.mark.parametrize("word", [1, 2])
def test_a_server_that_does_not_become_ready_is_told_soon(starting: Starting, word: int) -> None:
    status, reported, _ = starting(word)
    assert (status, reported) == (word, f"said {word}\n")


def test_without_a_server_the_answer_is_given_at_once(starting: Starting) -> None:
    assert starting(2, 0, running=False) == (2, "said 2\n", 1)
