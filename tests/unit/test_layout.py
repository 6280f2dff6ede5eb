"""The map of the repository is true, and its parts stay small enough to read."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgoperator import __version__
from pgoperator.kube import kinds
from reconcilers.pgcluster import pipeline
from reconcilers.pgcluster.watches import WATCHES
from tests.unit.pgcluster.specs import VARIANTS
from tests.unit.pgcluster.test_laws import view_of

ROOT = Path(__file__).resolve().parents[2]
CODE = ("pgoperator", "reconcilers", "local")
FILE_LINES = 300
FUNCTION_LINES = 60
DECISION_LINES = 40

ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "reconcilers/pgcluster"
PACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
PHASES = ("build", "decide", "act", "read")
PURE = ("build_", "decide_", "conditions")
IMPURE = ("act_", "read_")
# Modules whose name is their concept: a snapshot, a model, a list.
CONCEPTS = {"state": None, "backups": {"inventory"}, "status": {"events"}, "takeover": {"plan"}}
MODULES = 12
"""More in one package, and nobody sees it at a glance."""
# Checks of what users provide, which read nothing themselves.
PURE_READERS = {("decide_ownership", "read_user_secrets"), ("build_certificates", "read_user_secrets")}
OUTSIDE = {"pgoperator.context", "pgoperator.metrics", "pgoperator.log", "pgoperator.kube.client"}
CHANCE = {"time", "random", "secrets", "os", "asyncio", "structlog"}


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


def modules() -> list[Path]:
    """The modules in the packages of a cluster."""
    return sorted(path for path in PACKAGE.glob("*/*.py") if path.name != "__init__.py")


def test_every_package_is_in_the_map() -> None:
    listed = {cell.strip("`") for row in rows() for cell in row[:1]}
    assert {f"reconcilers/pgcluster/{name}/" for name in PACKAGES} - listed == set()


def test_the_map_answers_where_to_find_things() -> None:
    start = ARCHITECTURE.index("## Where do I find")
    section = ARCHITECTURE[start : ARCHITECTURE.index("\n## ", start + 1)]
    answers = re.findall(r"^\| [^|]+\? \| `([^`]+)` \|$", section, re.MULTILINE)
    assert len(answers) >= 25
    assert [path for path in answers if not (ROOT / path).is_file()] == []
    assert len(set(answers)) == len(answers), "one place for each question"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_small_and_says_what_it_owns(package: str) -> None:
    text = ast.get_docstring(ast.parse((PACKAGE / package / "__init__.py").read_text(encoding="utf-8"))) or ""
    assert len(text.splitlines()) >= 3, "what it owns, what it may import, where to start reading"
    assert sum(path.parent.name == package for path in modules()) <= MODULES


@pytest.mark.parametrize("path", modules(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_module_is_named_by_its_phase(path: Path) -> None:
    concepts = CONCEPTS.get(path.parent.name, set())
    phase = path.stem.partition("_")[0]
    assert concepts is None or path.stem in concepts or phase in PHASES or path.stem == "conditions"


@pytest.mark.parametrize("path", modules(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_pure_module_is_pure(path: Path) -> None:
    """Builders, decisions and conditions import no action, and neither clock nor network nor chance."""
    if not path.stem.startswith(PURE):
        return
    found = imports(path)
    names = {name.rpartition(".")[2] for name in found if name.startswith("reconcilers.pgcluster.")}
    actions = {name for name in names if name.startswith(IMPURE) and (path.stem, name) not in PURE_READERS}
    assert actions == set()
    chance = CHANCE - {"secrets"} if path.stem == "build_passwords" else CHANCE
    assert found & (OUTSIDE | chance) == set()


@pytest.mark.parametrize("path", modules(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_components_see_public_functions_only(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    others = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("reconcilers")
        for alias in node.names
    }
    private = [
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.value.id in others and node.attr.startswith("_")
    ]
    assert private == []
    assert not {name for name in others if name.startswith("_")}


@pytest.mark.parametrize("path", modules(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_status_imports_no_action(path: Path) -> None:
    if path.parent.name == "status":
        assert not {name for name in imports(path) if name.rpartition(".")[2].startswith("act_")}


def test_every_kind_that_is_built_is_watched_and_prunable() -> None:
    """A new kind is forgotten nowhere: claims are never pruned, everything else that a builder makes is."""
    built = {manifest["kind"] for name in VARIANTS for manifest in pipeline.build(view_of(name)).manifests}
    assert built
    watched = {watch.kind.kind for watch in WATCHES}
    prunable = {kind.kind for kind in kinds.PRUNABLE}
    assert built - watched == set()
    assert built - prunable == {kinds.PVC.kind}


def test_the_pass_is_short() -> None:
    tree = ast.parse((PACKAGE / "controller.py").read_text(encoding="utf-8"))
    [body] = [n for n in ast.walk(tree) if isinstance(n, ast.AsyncFunctionDef) and n.name == "_pass"]
    assert (body.end_lineno or 0) - body.lineno < 30


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
