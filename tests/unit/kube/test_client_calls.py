"""A deletion names the object that was seen, not the one that has its name by then."""

import ast
import inspect
from pathlib import Path

from pgoperator.kube.client import Client

ROOT = Path(__file__).parents[3]


def test_a_deletion_needs_a_uid() -> None:
    assert inspect.signature(Client.delete).parameters["uid"].default is inspect.Parameter.empty
    deletions = 0
    for file in [*ROOT.glob("pgoperator/**/*.py"), *ROOT.glob("reconcilers/**/*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) not in (
                "ctx.client.delete",
                "self._client.delete",
            ):
                continue
            deletions += 1
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert given.get("uid", "None") != "None", f"{file}:{node.lineno}"
    assert deletions > 10
