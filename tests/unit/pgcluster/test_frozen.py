"""The templates of pods for each crVersion: no operator restarts what an older one has made."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pgoperator import labels
from pgoperator.api.base import CR_VERSION
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster import pipeline
from reconcilers.pgcluster.state.view import View
from tests.support import golden
from tests.support.views import NOW, view
from tests.unit.pgcluster.specs import VARIANTS, instances

FOLDER = golden.DIRECTORY / "frozen"
# What is released stays; the present one is written when it is not there yet.
VERSIONS = sorted({CR_VERSION, *(path.name for path in FOLDER.glob("*") if path.is_dir())})
CASES = (
    *(("instances", variant) for variant in ("default", "no-backups", "volumes", "files", "pmm", "added")),
    *(("repository", variant) for variant in ("default", "all-repos", "added")),
    *(("pgbouncer", variant) for variant in ("default", "pooler-added")),
)
CODE = Path(__file__).parents[3] / "reconcilers"


def templates(of: View, step: str) -> list[Manifest]:
    made = pipeline.BUILDERS[step](of)
    assert isinstance(made, list)
    return [
        {"kind": m["kind"], "metadata": {"name": m["metadata"]["name"]}, "template": m["spec"]["template"]}
        for m in made
        if "template" in m.get("spec", {})
    ]


def made(step: str, variant: str, objects: list[Manifest] | None = None, **spec: Any) -> list[Manifest]:
    return templates(view(objects, **({"instances": instances()} | VARIANTS[variant] | spec)), step)


@pytest.mark.parametrize(("step", "variant"), CASES)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_template_is_what_it_was_when_its_version_was_released(
    version: str, step: str, variant: str
) -> None:
    golden.assert_frozen(made(step, variant, crVersion=version), f"frozen/{version}/{step}/{variant}")


def test_no_frozen_file_is_left_over() -> None:
    wanted = {f"{version}/{step}/{variant}.yaml" for version in VERSIONS for step, variant in CASES}
    assert {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.yaml")} == wanted


@pytest.mark.parametrize(("step", "variant"), CASES)
def test_a_new_cluster_without_a_version_follows_the_operator_s(step: str, variant: str) -> None:
    assert made(step, variant) == made(step, variant, crVersion=CR_VERSION)


@pytest.mark.parametrize("step", ["instances", "repository", "pgbouncer"])
def test_a_cluster_without_a_version_keeps_that_of_its_instances(step: str) -> None:
    """As an older operator has left them."""
    old = pipeline.BUILDERS["instances"](view(crVersion="3.0.5"))
    assert isinstance(old, list)
    own = made(step, "default", old)
    assert own == made(step, "default", old, crVersion="3.0.5")
    assert {t["template"]["metadata"]["labels"][labels.VERSION] for t in own} == {"3.0.5"}
    # The author's word counts for more.
    assert made(step, "default", old, crVersion=CR_VERSION) != own


@pytest.mark.parametrize("step", ["instances", "repository", "pgbouncer"])
def test_time_changes_no_template(step: str) -> None:
    now = view()
    assert templates(replace(now, now=NOW + timedelta(days=400)), step) == templates(now, step)


def test_no_reconciler_knows_the_operator_s_own_version_or_image() -> None:
    files = sorted(CODE.rglob("*.py"))
    assert files
    known = re.compile(r"__version__|pgoperator\.install|importlib\.metadata")
    assert [path.name for path in files if known.search(path.read_text(encoding="utf-8"))] == []
