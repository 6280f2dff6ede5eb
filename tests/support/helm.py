"""Helm as a function, and the charts of this repository."""

import subprocess
from pathlib import Path

import yaml

from local import bins
from local.versions import KUBERNETES
from tests.support.kubectl import REPOSITORY, Manifest

CHARTS = REPOSITORY / "charts"


class HelmError(Exception):
    """Helm failed; the message is its output."""


def helm(*arguments: str | Path, stdin: str = "", seconds: float = 120) -> str:
    """Build Helm if it is missing, run it and return its output."""
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
    """Return the rendered objects of a chart in the namespace `databases`."""
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
