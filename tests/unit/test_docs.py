"""What the documents say can be done, can be done: links, commands, paths, fields, reasons."""

import argparse
import ast
import re
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.__main__ import parser
from pgoperator.api import PGCluster
from pgoperator.api.crd import crd
from tests.support import documents
from tests.support.documents import ROOT, Block

PAGES = documents.pages()
SHELL = [block for page in PAGES for block in documents.shell_blocks(page)]
YAML = [block for page in PAGES for block in documents.blocks(page) if block.language == "yaml"]
FOLDERS = (
    "charts",
    "docs",
    "images",
    "local",
    "manifests",
    "pgoperator",
    "reconcilers",
    "requirements",
    "tests",
)
PATH = re.compile(rf"(?<![\w./-])((?:{'|'.join(FOLDERS)})/[\w./-]*\w/?)(?![\w*…<])")
REASON = re.compile(r"[A-Z][a-z]+(?:[A-Z][A-Za-z]*)+")


def ids(block: Block) -> str:
    return str(block)


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(page: str) -> None:
    for link in documents.links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.resolve().is_relative_to(ROOT), f"{link} leads out of the repository"
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in documents.anchors(str(target.resolve().relative_to(ROOT))), (
                f"{link}: no such heading"
            )


def test_every_page_can_be_reached() -> None:
    """From the README, link by link; a folder that is linked to leads to its pages."""
    seen, todo = set(), ["README.md"]
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        for link in documents.links(page):
            path = link.partition("#")[0]
            if not path or re.match(r"[a-z]+:", path):
                continue
            target = ((ROOT / page).parent / path).resolve()
            found = sorted(target.glob("*.md")) if target.is_dir() else [target]
            todo += [str(one.relative_to(ROOT)) for one in found if one.suffix == ".md"]
    assert set(PAGES) - seen == set()


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page: str) -> None:
    paths = set(PATH.findall(documents.read(page)))
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_nothing_of_this_machine(page: str) -> None:
    assert re.findall(r"/(?:root|work|home/\w+)/\S*", documents.read(page)) == []


@pytest.mark.parametrize("block", SHELL, ids=ids)
def test_shell_block_is_valid(block: Block) -> None:
    bash = shutil.which("bash")
    assert bash
    done = subprocess.run([bash, "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "<" not in re.sub(r"<<?[ '\w-]|<\(", "", block.text), "a placeholder is no command"


@cache
def make_targets() -> set[str]:
    return set(
        re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: str) -> None:
    text = "\n".join(
        [*re.findall(r"`([^`\n]+)`", documents.prose(page)), *(b.text for b in documents.blocks(page))]
    )
    named = re.findall(r"(?:^|[(;&|\"] *)make ((?:[a-z][a-z0-9-]* ?)+)", text, re.MULTILINE)
    unknown = {target for targets in named for target in targets.split()} - make_targets()
    assert unknown == set()


@cache
def local_commands() -> set[str]:
    actions = [a for a in parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return set(actions[0].choices)


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_local_kubernetes_exist(page: str) -> None:
    named = set(re.findall(r"python3 -m local ([a-z-]+)", documents.read(page)))
    assert named - local_commands() == set()


def test_every_make_target_is_documented_by_help() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    silent = {t for t in make_targets() if not re.search(rf"^{t}:.*## \S", text, re.MULTILINE)}
    assert silent <= {"venv"}


@cache
def spec_schema() -> dict[str, Any]:
    schema: dict[str, Any] = crd(PGCluster)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def unknown(value: Any, schema: dict[str, Any], path: str) -> list[str]:
    """Return the paths of fields that the resource does not have."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return []
    if isinstance(value, list):
        return [p for item in value for p in unknown(item, schema.get("items", {}), f"{path}[]")]
    if not isinstance(value, dict):
        return []
    known, rest = schema.get("properties", {}), schema.get("additionalProperties")
    found = []
    for key, below in value.items():
        if key in known:
            found += unknown(below, known[key], f"{path}.{key}")
        elif not isinstance(rest, dict):
            found.append(f"{path}.{key}")
    return found


@pytest.mark.parametrize("block", YAML, ids=ids)
def test_yaml_block_is_valid(block: Block) -> None:
    for document in yaml.safe_load_all(block.text):
        if "spec" in document and document.get("kind", "PerconaPGCluster") == "PerconaPGCluster":
            assert unknown(document["spec"], spec_schema()["properties"]["spec"], "spec") == []


@pytest.mark.parametrize("page", [page for page in PAGES if not page.startswith("docs/reference/")])
def test_fields_in_the_text_exist(page: str) -> None:
    for name in re.findall(r"`(spec\.[A-Za-z_.\[\]]+)`", documents.read(page)):
        node = spec_schema()
        for step in name.split("."):
            below = node.get("properties", {}).get(step.removesuffix("[]"))
            assert below is not None, f"{name}: there is no {step}"
            node = below["items"] if step.endswith("[]") else below


def reasons(path: Path) -> Iterator[str]:
    """The reasons and types of conditions and events that calls in a module have as literals."""
    positions = {"Problem": (0,), "Finding": (0, 2), "with_condition": (2,), "queued": (1,)}
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        arguments = [keyword.value for keyword in call.keywords if keyword.arg == "reason"]
        arguments += [call.args[at] for at in positions.get(name, ()) if at < len(call.args)]
        for node in (node for argument in arguments for node in ast.walk(argument)):
            word = node.value if isinstance(node, ast.Constant) else None
            if isinstance(word, str) and REASON.fullmatch(word):
                yield word


def test_every_reason_is_documented() -> None:
    text = "\n".join(documents.read(page) for page in PAGES if not page.startswith("docs/reference/"))
    named = set(re.findall(r"`([A-Z][A-Za-z]+)`", text))
    # The reason of a refused restore is no word of the API: its sentence is in `status.error`.
    paths = [p for top in ("pgoperator", "reconcilers") for p in (ROOT / top).rglob("*.py")]
    found = {reason for path in paths if "pgrestore" not in path.parts for reason in reasons(path)}
    assert len(found) > 60
    assert found - named == set()


def test_metrics_exist() -> None:
    page = documents.read("docs/operations/metrics.md")
    code = (ROOT / "pgoperator/metrics.py").read_text(encoding="utf-8")
    defined = set(
        re.findall(r'"((?:pgoperator|controller_runtime|workqueue|rest_client|leader_election)_\w+)"', code)
    )
    pattern = r"\b(?:pgoperator|controller_runtime|workqueue|rest_client|leader_election)_\w+"
    named = {name.removesuffix("_total") for name in re.findall(pattern, page)}
    assert named - defined == set()


@pytest.mark.parametrize("block", SHELL, ids=ids)
def test_a_command_is_run_by_a_test_or_says_why_not(block: Block) -> None:
    assert block.name or block.reason, "<!-- test: NAME --> or <!-- not run: why --> on the line before it"


def test_markers_name_each_block_once() -> None:
    names = [(block.page, block.name) for block in SHELL if block.name]
    assert len(names) == len(set(names))
    stray = [
        p
        for p in PAGES
        if len(re.findall(r"^<!-- (?:test|not run): ", documents.read(p), re.MULTILINE))
        != sum(bool(b.name or b.reason) for b in documents.blocks(p))
    ]
    assert stray == [], "a marker stands on the line before its block"


def test_code_for_drivers_is_what_the_tests_run() -> None:
    """Each block of code in connect.md is a region of a program in tests/drivers, without its counters."""
    region = re.compile(
        r"^[ \t]*(?://|#) docs: (?!end)[\w -]+\n(.*?)^[ \t]*(?://|#) docs: end$", re.MULTILINE | re.DOTALL
    )
    shown = [
        block.text
        for block in documents.blocks("docs/howto/connect.md")
        if block.language in {"go", "java", "js", "python"}
    ]
    run = [
        textwrap.dedent("".join(line for line in text.splitlines(True) if "(test)" not in line)).strip()
        + "\n"
        for file in sorted((ROOT / "tests" / "drivers").rglob("*.*"))
        if file.suffix in {".go", ".java", ".js", ".py"}
        for text in region.findall(file.read_text(encoding="utf-8"))
    ]
    assert len(run) > 5
    assert sorted(shown) == sorted(run)
