"""Install the operator: from the built image on the local cluster, as published on anybody else's."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from local import bins, cluster, images, kubeconfig
from local.console import LocalError, say, step
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
_TIMEOUT = "120s"


class Installer(Protocol):
    """Installs the operator, with the images built here on the local cluster."""

    def __call__(self, config: Path, *, local: bool) -> None:
        """Install it, or bring it up to date, and wait until it is ready."""


def up(nodes: int, operator: Installer | None) -> Path:
    """Bring up the cluster and the operator in it; return the kubeconfig to use.

    With KUBECONFIG set to another cluster, that one gets the operator, and nothing is built.
    """
    if foreign := kubeconfig.foreign():
        if operator:
            operator(Path(foreign), local=False)
        return Path(foreign)
    wanted = (images.PGBOUNCER_IMAGE, images.POSTGRES, *([images.OPERATOR] if operator else []))
    cluster.up(nodes, wanted)
    if operator:
        operator(cluster.SERVER.admin, local=True)
    say(f"kubeconfig: {cluster.SERVER.admin}")
    return cluster.SERVER.admin


def from_bundle(config: Path, *, local: bool) -> None:
    """Install manifests/bundle.yaml."""
    if not _BUNDLE.is_file():
        raise LocalError(f"{_BUNDLE} is missing: `make generate` writes it (or use OPERATOR=none)")
    kubectl = _kubectl(config, NAMESPACE)
    with step(f"installing the operator into the namespace {NAMESPACE}"):
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
    """Wait until the operator's pod is ready; what keeps it from that is part of the error."""
    kubectl = _kubectl(config, namespace)
    with step("waiting for the operator"):
        try:
            output([*kubectl, "rollout", "status", f"deployment/{deployment}", f"--timeout={_TIMEOUT}"])
        except LocalError as error:
            raise LocalError("\n".join([str(error), *_evidence(kubectl, deployment)])) from error


def define(config: Path, namespace: str, definitions: list[dict[str, Any]]) -> None:
    """Apply the custom resources' definitions, and wait until they are served."""
    kubectl = _kubectl(config, namespace)
    _apply(kubectl, definitions)
    names = [item["metadata"]["name"] for item in definitions]
    get = [*kubectl, "get", "customresourcedefinition", "--output=json", *names]
    wait_for("the custom resources are served", lambda: established(objects_of(output(get))), 30)


def parsed(config: Path, source: Path) -> list[dict[str, Any]]:
    """Read the objects of a file or folder."""
    command = ("create", "--dry-run=client", "--output=json", f"--filename={source}")
    return objects_of(output([*_kubectl(config, NAMESPACE), *command]))


def operator_digest() -> str:
    """Return what identifies the operator's image as it was built last."""
    return images.recorded_digest(images.ALL[images.OPERATOR])


def _kubectl(config: Path, namespace: str) -> tuple[object, ...]:
    return bins.kubectl(), f"--kubeconfig={config}", f"--namespace={namespace}"


def _apply(kubectl: Sequence[object], objects: list[dict[str, Any]]) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    output([*kubectl, "apply", "--server-side", "--force-conflicts", "--filename=-"], stdin=text)


def _evidence(kubectl: Sequence[object], deployment: str) -> Iterator[str]:
    """Yield what tells why a Deployment does not start; a pod without a container has no log."""
    for command in (
        ("get", "pods", "--output=wide"),
        ("get", "events", "--field-selector=type=Warning", "--sort-by=.lastTimestamp"),
        ("logs", f"deployment/{deployment}", "--tail=10"),
    ):
        with suppress(LocalError):
            yield output([*kubectl, *command])


def objects_of(text: str) -> list[dict[str, Any]]:
    """Parse what kubectl prints: a list, or one JSON document after another."""
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
    """Tell whether the API server serves all of these custom resources.

    Not `kubectl wait`: it fails on one that has no conditions yet.
    """
    return all(
        any(
            c["type"] == "Established" and c["status"] == "True"
            for c in item["status"].get("conditions") or []
        )
        for item in definitions
    )


def with_local_images(objects: list[dict[str, Any]], digest: str) -> list[dict[str, Any]]:
    """Let the Deployment use the images built here; a new build of the same name rolls it out again."""
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
