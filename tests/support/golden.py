"""Manifests as YAML files under `tests/golden`: a change of a step's output shows as a diff.

`pytest --update-golden` rewrites the files, except frozen ones.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgoperator.kube.manifest import Manifest

DIRECTORY = Path(__file__).parents[1] / "golden"
OPTION = "--update-golden"
DECISION = "docs/decisions/0055-templates-are-frozen.md"

_updating = False


def add_option(parser: pytest.Parser) -> None:
    """Register the option with pytest."""
    parser.addoption(OPTION, action="store_true", help="rewrite tests/golden/** instead of comparing")


def configure(config: pytest.Config) -> None:
    """Read the value of the option."""
    global _updating  # noqa: PLW0603 - one process, one answer
    _updating = bool(config.getoption(OPTION))


def assert_golden(manifests: Iterable[Manifest], name: str) -> None:
    """Compare with `tests/golden/<name>.yaml`; the order of the manifests does not matter."""
    compare(render(manifests), DIRECTORY / f"{name}.yaml", update=_updating)


def assert_frozen(manifests: Iterable[Manifest], name: str) -> None:
    """Compare with a file that the option writes once and never changes."""
    path = DIRECTORY / f"{name}.yaml"
    hint = f"clusters with this crVersion would restart: read {DECISION}"
    compare(render(manifests), path, update=_updating and not path.exists(), hint=hint)


def compare(
    text: str, path: Path, *, update: bool, hint: str = f"if this change is intended: pytest {OPTION}"
) -> None:
    """Compare a text with a file, or write the file."""
    if update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    if not path.exists():
        pytest.fail(f"{path} does not exist; pytest {OPTION} writes it", pytrace=False)
    stored = path.read_text(encoding="utf-8")
    if stored != text:
        diff = difflib.unified_diff(
            stored.splitlines(), text.splitlines(), str(path), "now", lineterm="", n=4
        )
        pytest.fail("\n".join([*diff, hint]), pytrace=False)


def render(manifests: Iterable[Manifest]) -> str:
    """One document for each manifest, sorted by kind and name; multi-line texts in block style."""
    ordered = sorted(manifests, key=lambda m: (m["kind"], m["metadata"]["name"]))
    documents = [yaml.dump(m, Dumper=_Dumper, width=110, sort_keys=True) for m in ordered]
    return "---\n".join(documents)


class _Dumper(yaml.SafeDumper):
    """YAML without anchors: a shared part is written in each place."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
