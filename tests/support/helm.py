"""Helm as a function, and the charts of this repository."""

import subprocess
from pathlib import Path

import yaml

from local import bins
from local.versions import KUBERNETES
from tests.support.kubectl import REPOSITORY, Manifest

CHARTS = REPOSITORY / "charts"


class HelmError(Exception):
    """Helm ended with a status other than 0; the message is what it said."""


def helm(*arguments: str | Path, stdin: str = "", seconds: float = 120) -> str:
    """Run Helm, built if need be, and return what it prints."""
    bins.build(["helm"])
    done = subprocess.run(
        [bins.program("helm"), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode:
        raise HelmError(f"helm {' '.join(map(str, arguments))}: {done.stderr}{done.stdout}")
    return done.stdout


def render(chart: str, values: Manifest | None = None, *, release: str = "my") -> list[Manifest]:
    """Return what a chart makes in the namespace `databases`."""
    text = helm(
        "template",
        release,
        CHARTS / chart,
        "--namespace=databases",
        f"--kube-version={KUBERNETES}",
        "--values=-",
        stdin=yaml.safe_dump(values or {}),
    )
    return [document for document in yaml.safe_load_all(text) if document]
