"""Installs the charts with the built Helm: the operator, and a cluster with the spec of an example."""

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
    """The charts in one namespace; a repeated installation is an upgrade."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def operator(self, config: Path, *, local: bool) -> None:
        """Install the operator; on the local cluster with the locally built images."""
        bins.build(["helm"])
        # Helm does not update existing definitions.
        install.define(config, self._namespace, install.parsed(config, _DEFINITIONS))
        values: dict[str, Any] = {}
        if local:
            values = {
                "image": images.OPERATOR,
                "relatedImages": install.RELATED_IMAGES,
                # A new build under the same name triggers a rollout.
                "podAnnotations": {install.HASH_ANNOTATION: install.operator_digest()},
            }
        with step(f"install the operator in namespace {self._namespace} with Helm"):
            self._helm(config, "pg-operator", "pg-operator", values)
        install.await_operator(config, self._namespace, "pg-operator")

    def cluster(self, config: Path, example: Path) -> None:
        """Create the cluster of an example with the default images of the operator."""
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
