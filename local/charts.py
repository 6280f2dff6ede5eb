"""Install the charts with a Helm that is built here: the operator, and a cluster of an example's spec."""

import json
from pathlib import Path
from typing import Any

from local import bins, images, install
from local.console import step
from local.paths import REPOSITORY
from local.shell import output

_CHARTS = REPOSITORY / "charts"
_DEFINITIONS = _CHARTS / "pg-operator" / "crds"


class Charts:
    """The charts in one namespace of one cluster; installing again is upgrading."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def operator(self, config: Path, *, local: bool) -> None:
        """Install the operator, with the images built here on the local cluster."""
        bins.build(["helm"])
        # Helm would not touch definitions that are there.
        install.define(config, self._namespace, install.parsed(config, _DEFINITIONS))
        values: dict[str, Any] = {}
        if local:
            values = {
                "image": images.OPERATOR,
                "relatedImages": install.RELATED_IMAGES,
                # A new build of the same name rolls it out again.
                "podAnnotations": {install.HASH_ANNOTATION: install.operator_digest()},
            }
        with step(f"installing the operator into the namespace {self._namespace}, with Helm"):
            self._helm(config, "pg-operator", "pg-operator", values)
        install.await_operator(config, self._namespace, "pg-operator")

    def cluster(self, config: Path, example: Path) -> None:
        """Make the cluster of an example; its images are the operator's choice."""
        [resource] = install.parsed(config, example)
        name, spec = resource["metadata"]["name"], resource["spec"]
        spec["image"] = spec.get("image")
        for part in (spec["proxy"]["pgBouncer"], spec["backups"]["pgbackrest"]):
            part["image"] = part.get("image")
        self._helm(config, name, "pg-db", {"fullnameOverride": name, **spec})

    def _helm(self, config: Path, release: str, chart: str, values: dict[str, Any]) -> None:
        where = (f"--kubeconfig={config}", f"--namespace={self._namespace}", "--create-namespace")
        command = [bins.program("helm"), "upgrade", "--install", release, _CHARTS / chart, "--values=-"]
        output([*command, *where], stdin=json.dumps(values))
