"""`isready.sh` before a `pg_isready` that answers as it is told."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from reconcilers import files


def is_postgres_here(folder: Path) -> bool:
    """Tell whether a process is called so, and is in no container."""
    try:
        name, space = (folder / "comm").read_text(), (folder / "ns/mnt").stat()
    except OSError:
        return False
    return name == "postgres\n" and os.path.samestat(space, Path("/proc/self/ns/mnt").stat())


@pytest.fixture
def starting(tmp_path):
    """Run the script before a `pg_isready` whose answers are given, the last one for ever."""
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
    server = shutil.copy(shutil.which("sleep") or "/bin/sleep", tmp_path / "bin/postgres")

    def ask(*words: int, running: bool = True) -> tuple[int, str, int]:
        answers.write_text("".join(f"{word}\n" for word in words))
        process = subprocess.Popen([server, "1000"]) if running else None
        done = subprocess.run(
            [tmp_path / "first/pg_isready", "-p", "5432"],
            env={"PATH": f"{tmp_path}/first:{tmp_path}/bin:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if process:
            process.kill()
            process.wait()
        return done.returncode, done.stdout, asked.read_text().count("-p 5432\n")

    return ask


@pytest.mark.parametrize("word", [0, 3])
def test_a_ready_server_is_told_at_once(starting, word):
    assert starting(word) == (word, f"said {word}\n", 1)


def test_a_server_that_becomes_ready_is_told_as_soon_as_it_is(starting):
    status, told, _ = starting(2, 1, 0)
    assert (status, told) in {(0, "said 0\n"), (1, "said 1\n")}, (
        "the second, where one question takes so long"
    )


@pytest.mark.parametrize("word", [1, 2])
def test_a_server_that_does_not_become_ready_is_told_soon(starting, word):
    status, told, _ = starting(word)
    assert (status, told) == (word, f"said {word}\n")


def test_without_a_server_the_answer_is_given_at_once(starting):
    if any(is_postgres_here(folder) for folder in Path("/proc").glob("[0-9]*")):
        pytest.skip("a PostgreSQL of somebody else runs here")
    assert starting(2, 0, running=False) == (2, "said 2\n", 1)
