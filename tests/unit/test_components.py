"""The table of components is true: what it names is there, and each row is shown by a test that is there."""

import ast
import re
from functools import cache

import pytest

from tests.support import documents
from tests.support.documents import ROOT

PAGE = documents.read("docs/components.md")
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", PAGE)))
PATHS = sorted(set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", PAGE)))
# Nothing of ours: it is the storage's to do.
UNTESTED = {"a volume that follows its pod"}


@cache
def functions(path: str) -> frozenset[str]:
    """The names of the tests in a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(node.name for node in found if node.name.startswith("test_"))


@pytest.mark.parametrize("test", TESTS)
def test_a_named_test_exists(test: str) -> None:
    path, _, name = test.partition("::")
    assert (ROOT / path).is_file()
    assert not name or name in functions(path)


@pytest.mark.parametrize("path", PATHS)
def test_a_named_path_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_each_row_names_a_test() -> None:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if "|" in line]
    rows = [row for row in rows if len(row) == 4 and row[2] not in ("test", "---")]
    assert rows
    assert {row[0] for row in rows if not row[2].startswith("`tests/")} == UNTESTED
