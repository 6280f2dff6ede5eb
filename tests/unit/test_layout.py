"""The map of the repository is true, and its parts stay small enough to read."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgoperator import __version__
from reconcilers.pgcluster.steps import STEPS

ROOT = Path(__file__).resolve().parents[2]
CODE = ("pgoperator", "reconcilers", "local")
FILE_LINES = 300
FUNCTION_LINES = 60
DECISION_LINES = 40

ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
PACKAGE = "reconcilers.pgcluster"
# What every step may read besides the view: shared parts without manifests of their own.
SHARED = {"view", "pausing", "pods", "extras", "volumes", "restoring", "extensions"}
# A step that builds part of another's pod, or needs the name by which another is known. Nothing else.
EXCEPTIONS = {
    "instances": {"repository", "pmm"},  # pgBackRest's server and PMM's client are containers of their pods
    "pgbouncer": {"services"},  # the fields of `expose` are the same
    "repository": {"certificates"},  # the name in the client's certificate
}
OUTSIDE = {"pgoperator.context", "pgoperator.metrics", "pgoperator.log", "pgoperator.kube.client"}
IMPURE = {"time", "random", "secrets", "os", "asyncio", "structlog"}


def python_files() -> Iterator[Path]:
    for top in CODE:
        yield from sorted((ROOT / top).rglob("*.py"))


def files() -> list[str]:
    texts = [path for top in CODE for kind in ("*.py", "*.sh", "*.sql") for path in (ROOT / top).rglob(kind)]
    return sorted(str(path.relative_to(ROOT)) for path in texts)


def rows() -> list[list[str]]:
    """The rows of the architecture's tables, as cells."""
    lines = [line for line in ARCHITECTURE.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, `from package import module` included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_module_of_the_reconcilers_is_in_the_map() -> None:
    listed = {cell.strip("`") for row in rows() for cell in row[:2] if cell.startswith("`reconcilers/")}
    present = {str(path.relative_to(ROOT)) for path in (ROOT / "reconcilers").rglob("*.py")}
    assert present - listed == set(), "not in the tables of docs/architecture.md"
    assert listed - present == set(), "in docs/architecture.md, but not there"


def test_every_path_in_the_map_exists() -> None:
    paths = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", ARCHITECTURE)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_object_in_the_map_has_a_test_and_a_how_to() -> None:
    for row in rows():
        if len(row) == 4 and row[1].startswith("`"):
            assert row[2].startswith("`tests/"), row
            assert re.fullmatch(r"\[[\w ]+\]\([\w./-]+\.md\)", row[3]), row


@pytest.mark.parametrize("path", files())
def test_file_is_short(path: str) -> None:
    lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert lines <= FILE_LINES


def test_functions_are_short() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {node.name} has {size} lines"
        for path in python_files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (size := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES
    ]
    assert long == []


@pytest.mark.parametrize("step", sorted(STEPS))
def test_step_reads_no_sibling(step: str) -> None:
    found = imports(ROOT / "reconcilers/pgcluster" / f"{step}.py")
    siblings = {name.split(".")[2] for name in found if name.startswith(PACKAGE + ".")}
    assert siblings - SHARED - EXCEPTIONS.get(step, set()) == set()


@pytest.mark.parametrize("step", sorted(STEPS))
def test_step_is_pure(step: str) -> None:
    found = imports(ROOT / "reconcilers/pgcluster" / f"{step}.py")
    assert found & (OUTSIDE | IMPURE) == set()


@pytest.mark.parametrize("path", sorted((ROOT / "docs/decisions").glob("*.md")), ids=lambda path: path.name)
def test_decision_has_its_form(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", path.name)
    assert text.startswith(f"# {path.name[:4]}"), "the first line is the number and the decision"
    assert len(text.splitlines()) <= DECISION_LINES


def test_decisions_are_numbered_once() -> None:
    numbers = [path.name[:4] for path in (ROOT / "docs/decisions").glob("*.md")]
    assert sorted(numbers) == sorted(set(numbers))


def test_the_changelog_has_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[?{re.escape(__version__)}\]?", text, re.MULTILINE)
    assert "## [Unreleased]" in text
