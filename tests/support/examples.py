"""The samples of manifests/examples, as text and as objects."""

from dataclasses import replace
from pathlib import Path

import yaml

from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.pods import build_customization
from reconcilers.pgcluster.state.view import View
from tests.support.kubectl import REPOSITORY
from tests.support.views import view

FOLDER = REPOSITORY / "manifests" / "examples"
FILES: dict[str, Path] = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def text(name: str) -> str:
    """Return the text of a sample."""
    return FILES[name].read_text(encoding="utf-8")


def objects(name: str) -> list[Manifest]:
    """Return the objects of a sample."""
    return list(yaml.safe_load_all(text(name)))


def clusters() -> dict[str, Manifest]:
    """Return the samples that have a cluster, by the name of their file."""
    return {name: one for name in FILES for one in objects(name) if one["kind"] == "PerconaPGCluster"}


def seen(cluster: Manifest) -> View:
    """Return the view of exactly this cluster; all objects exist that its pods take variables from."""
    without_default = {"proxy": None}
    found = view(name=cluster["metadata"]["name"], **without_default | cluster["spec"])
    uses = [
        use
        for part in build_customization.parts(found.cluster.spec, backups_enabled=found.backups_enabled)
        for use in build_customization.uses(part)
    ]
    return replace(found, referenced={use.reference: "digest" for use in uses})
