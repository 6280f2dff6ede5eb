"""`make test` leaves no test out and runs none twice: its commands, and what pytest takes from them."""

import os
import re
import shlex
import subprocess
import sys
from functools import cache

from tests.support.documents import ROOT

TARGETS = ("test-unit", "test-api", "test-local", "test-e2e")
# The faults that every namespace has to suffer.
BREAKS = re.compile(r"\b(api_server_stopped|kill_api_server|node_cut_off|network\.cut)\b")
NOT_INHERITED = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "PYTEST_ARGS")


@cache
def commands(*targets: str) -> list[list[str]]:
    """The arguments of each pytest that these targets start; without any, those of `make test`."""
    environment = {k: v for k, v in os.environ.items() if k not in NOT_INHERITED}
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", *(targets or TARGETS)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.replace("\\\n", " ").splitlines()
    return [shlex.split(line.rpartition("/pytest ")[2]) for line in lines if "/pytest " in line]


def collected(arguments: list[str]) -> set[str]:
    """The files whose tests pytest takes for these arguments, in one process."""
    kept = [one for one in arguments if one != "-v"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *kept, "-n0", "-p", "no:cacheprovider", "--collect-only", "-q"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}


def files(folder: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("test_*.py")}


def test_all_of_them_are_part_of_make_test() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    rules = dict(re.findall(r"^(test|check):(.*?)(?=^\S)", makefile, re.MULTILINE | re.DOTALL))
    needed = f"{rules['test']} {rules['check']}" if "check" in rules["test"] else rules["test"]
    assert set(TARGETS) <= set(re.findall(r"[\w-]+", needed))


def test_every_folder_of_tests_is_run() -> None:
    named = {one for arguments in commands() for one in arguments}
    folders = {str(path.parent.relative_to(ROOT)) for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders
    assert folders <= named
    left_out = {one.removeprefix("--ignore=") for one in named if one.startswith("--ignore=")}
    assert left_out <= named, "left out of one run, and in no other"


@cache
def end_to_end() -> tuple[set[str], set[str]]:
    """The modules of both runs: those that run beside each other, and those beside which nothing runs."""
    side_by_side, alone = (collected(arguments) for arguments in commands() if "tests/e2e" in arguments)
    return side_by_side, alone


def test_every_end_to_end_module_is_in_one_run() -> None:
    side_by_side, alone = end_to_end()
    assert side_by_side & alone == set()
    left_out = files("tests/e2e") - side_by_side - alone
    assert left_out <= set.union(*(collected(arguments) for arguments in commands("test-long")))


def test_who_breaks_what_others_need_runs_alone() -> None:
    breaking = {path for path in files("tests/e2e") if BREAKS.search((ROOT / path).read_text("utf-8"))}
    assert breaking
    assert breaking <= end_to_end()[1], "list it in ALONE in tests/e2e/conftest.py"
