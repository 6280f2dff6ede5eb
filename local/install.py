"""Installs the operator: with the built images on the local cluster, with the published ones elsewhere."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from local import bins, cluster, images, kubeconfig
from local.console import LocalError, info, step
from local.paths import MANIFESTS
from local.shell import output, wait_for
from local.versions import POSTGRES_MAJOR

NAMESPACE = "postgres-operator"
_BUNDLE = MANIFESTS / "bundle.yaml"
RELATED_IMAGES = {
    f"RELATED_IMAGE_POSTGRES_{POSTGRES_MAJOR}": images.POSTGRES,
    "RELATED_IMAGE_PGBOUNCER": images.PGBOUNCER_IMAGE,
    "RELATED_IMAGE_PGBACKREST": images.POSTGRES,
}
HASH_ANNOTATION = "pgoperator.local/image"
UNPUBLISHED = "image: example.invalid/"
"""What the bundle has as long as it names no image that exists."""
_TIMEOUT = "120s"


class Installer(Protocol):
    """Installs the operator; on the local cluster with the locally built images."""

    def __call__(self, config: Path, *, local: bool) -> None:
        """Install or update the operator and wait until it is ready."""


def up(nodes: int, operator: Installer | None) -> Path:
    """Start or update the local cluster and the operator; return the kubeconfig to use.

    If KUBECONFIG names another cluster, the operator is installed there and nothing is built.
    """
    if foreign := kubeconfig.foreign():
        if operator:
            operator(Path(foreign), local=False)
        return Path(foreign)
    names = (images.PGBOUNCER_IMAGE, images.POSTGRES, *([images.OPERATOR] if operator else []))
    cluster.up(nodes, names)
    if operator:
        operator(cluster.SERVER.admin, local=True)
    info(f"kubeconfig: {cluster.SERVER.admin}")
    return cluster.SERVER.admin


def from_bundle(config: Path, *, local: bool) -> None:
    """Install manifests/bundle.yaml."""
    if not _BUNDLE.is_file():
        raise LocalError(f"{_BUNDLE} is missing; create it with `make generate`, or use OPERATOR=none")
    if not local and UNPUBLISHED in _BUNDLE.read_text(encoding="utf-8"):
        raise LocalError(f"{_BUNDLE}: no image is published; build the operator's, and put its name there")
    kubectl = _kubectl(config, NAMESPACE)
    with step(f"install the operator in namespace {NAMESPACE}"):
        _apply(kubectl, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}])
        objects = parsed(config, _BUNDLE)
        if local:
            objects = with_local_images(objects, operator_digest())
        definitions = [item for item in objects if item["kind"] == "CustomResourceDefinition"]
        define(config, NAMESPACE, definitions)
        _apply(kubectl, [item for item in objects if item not in definitions])
    for name in deployments(objects):
        await_operator(config, NAMESPACE, name)


def await_operator(config: Path, namespace: str, deployment: str) -> None:
    """Wait until the operator's Deployment is ready; LocalError with pods, warnings and logs if it fails."""
    kubectl = _kubectl(config, namespace)
    with step("wait for the operator"):
        try:
            output([*kubectl, "rollout", "status", f"deployment/{deployment}", f"--timeout={_TIMEOUT}"])
        except LocalError as error:
            raise LocalError("\n".join([str(error), *_evidence(kubectl, deployment)])) from error


def define(config: Path, namespace: str, definitions: list[dict[str, Any]]) -> None:
    """Apply the custom resource definitions and wait until the API server serves them."""
    kubectl = _kubectl(config, namespace)
    _apply(kubectl, definitions)
    names = [item["metadata"]["name"] for item in definitions]
    get = [*kubectl, "get", "customresourcedefinition", "--output=json", *names]
    wait_for("the API server serves the custom resources", lambda: established(objects_of(output(get))), 30)


def parsed(config: Path, source: Path) -> list[dict[str, Any]]:
    """Return the objects in a file or folder of manifests."""
    command = ("create", "--dry-run=client", "--output=json", f"--filename={source}")
    return objects_of(output([*_kubectl(config, NAMESPACE), *command]))


def operator_digest() -> str:
    """Return the digest of the operator's last built image."""
    return images.recorded_digest(images.ALL[images.OPERATOR])


def _kubectl(config: Path, namespace: str) -> tuple[object, ...]:
    return bins.kubectl(), f"--kubeconfig={config}", f"--namespace={namespace}"


def _apply(kubectl: Sequence[object], objects: list[dict[str, Any]]) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    output([*kubectl, "apply", "--server-side", "--force-conflicts", "--filename=-"], stdin=text)


def _evidence(kubectl: Sequence[object], deployment: str) -> Iterator[str]:
    """Yield pods, warnings and logs that can show why a Deployment does not start."""
    for command in (
        ("get", "pods", "--output=wide"),
        ("get", "events", "--field-selector=type=Warning", "--sort-by=.lastTimestamp"),
        ("logs", f"deployment/{deployment}", "--tail=10"),
    ):
        with suppress(LocalError):
            yield output([*kubectl, *command])


def objects_of(text: str) -> list[dict[str, Any]]:
    """Parse the JSON output of kubectl: a list, or a sequence of documents."""
    decoder = json.JSONDecoder()
    objects: list[dict[str, Any]] = []
    rest = text.strip()
    while rest:
        document, end = decoder.raw_decode(rest)
        objects += document["items"] if document["kind"].endswith("List") else [document]
        rest = rest[end:].strip()
    return objects


def deployments(objects: list[dict[str, Any]]) -> list[str]:
    """Return the names of the Deployments."""
    return [item["metadata"]["name"] for item in objects if item["kind"] == "Deployment"]


def established(definitions: list[dict[str, Any]]) -> bool:
    """Return whether the API server serves all of these custom resources.

    `kubectl wait` is not used, because it fails for a definition without conditions.
    """
    return all(
        any(
            c["type"] == "Established" and c["status"] == "True"
            for c in item["status"].get("conditions") or []
        )
        for item in definitions
    )


def with_local_images(objects: list[dict[str, Any]], digest: str) -> list[dict[str, Any]]:
    """Set the locally built images in the Deployment; a new digest triggers a rollout."""
    for item in objects:
        if item["kind"] != "Deployment":
            continue
        template = item["spec"]["template"]
        template.setdefault("metadata", {}).setdefault("annotations", {})[HASH_ANNOTATION] = digest
        for container in template["spec"]["containers"]:
            container["image"] = images.OPERATOR
            container["imagePullPolicy"] = "IfNotPresent"
            others = [entry for entry in container.get("env", []) if entry["name"] not in RELATED_IMAGES]
            container["env"] = others + [{"name": k, "value": v} for k, v in RELATED_IMAGES.items()]
    return objects
