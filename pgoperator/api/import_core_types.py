"""Writes `core_types.json`: the schemas of the Kubernetes types in the custom resources.

The source is the OpenAPI document in the Go module of Kubernetes; run
`python -m pgoperator.api.import_core_types` after a change of KUBERNETES or of `core.py`.

Descriptions are dropped, because they are nine tenths of the size. Defaults are dropped, because Kubernetes
sets them when the part reaches a pod; only defaults of list keys stay, because the API server needs them to
distinguish the items. The document has no enumerations, so values of newer Kubernetes versions are accepted.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pgoperator.api.base import Manifest
from pgoperator.api.core import CORE_TYPE, PREFIX, ROOTS

KUBERNETES = "v1.34.4"
TARGET = Path(__file__).with_name("core_types.json")

INT_OR_STRING: Manifest = {"x-kubernetes-int-or-string": True}
# The pattern of a quantity; it is short, because a CRD has some hundred copies.
QUANTITY = r"^[+-]?(\d+\.?|\.\d)\d*([KMGTPE]i?|[numk]|[eE][+-]?\d+)?$"
REPLACED: dict[str, Manifest] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {**INT_OR_STRING, "pattern": QUANTITY},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": INT_OR_STRING,
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": {"type": "string", "format": "date-time"},
    # The metadata of a claim template: Kubernetes rejects all fields but these two.
    "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": {
        "type": "object",
        "properties": {
            "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    },
}
KEPT = frozenset({"format", "required", "type"})
KEPT_HINTS = frozenset({"x-kubernetes-list-map-keys", "x-kubernetes-list-type", "x-kubernetes-map-type"})
DROPPED = frozenset(
    {
        "default",
        "description",
        "x-kubernetes-patch-merge-key",
        "x-kubernetes-patch-strategy",
        "x-kubernetes-unions",
    }
)


def source() -> Manifest:
    """Read the schemas of the core group from the Go module, which is downloaded if necessary."""
    go = shutil.which("go")
    if go is None:
        raise SystemExit("Go is needed to fetch the module k8s.io/kubernetes")
    command = [go, "mod", "download", "-json", f"k8s.io/kubernetes@{KUBERNETES}"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - fixed arguments
    folder = Path(json.loads(answer.stdout)["Dir"])
    document = json.loads((folder / "api/openapi-spec/v3/api__v1_openapi.json").read_text())
    schemas: Manifest = document["components"]["schemas"]
    schemas[PREFIX + "VolumeSource"] = volume_source(schemas[PREFIX + "Volume"])
    return schemas


def volume_source(volume: Manifest) -> Manifest:
    """Derive VolumeSource: Go embeds it in Volume, so the document does not contain it."""
    properties = {name: value for name, value in volume["properties"].items() if name != "name"}
    return {"type": "object", "properties": properties}


def closure(schemas: Manifest) -> dict[str, Manifest]:
    """Return the types of `core.py` and all types that they reference, reduced."""
    types: dict[str, Manifest] = {}
    pending = [PREFIX + name for name in ROOTS]
    while pending:
        name = pending.pop()
        if name in types:
            continue
        types[name] = REPLACED.get(name) or reduced(schemas[name], name)
        pending += references(types[name])
    return dict(sorted(types.items()))


def references(node: Any) -> Iterator[str]:
    """Yield the types that a reduced schema references."""
    if isinstance(node, dict):
        if isinstance(name := node.get(CORE_TYPE), str):
            yield name
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from references(child)


def reduced(node: Manifest, where: str) -> Manifest:
    """Keep the keywords of a structural schema; ValueError for an unknown keyword."""
    result: Manifest = {}
    for key, value in sorted(node.items()):
        match key:
            case "$ref":
                result[CORE_TYPE] = value.rsplit("/", 1)[-1]
            case "allOf" if len(value) == 1:
                result |= reduced(value[0], where)
            case "properties":
                result[key] = {
                    name: reduced(child, f"{where}.{name}") for name, child in sorted(value.items())
                }
            case "items" | "additionalProperties":
                result[key] = reduced(value, f"{where}[]")
            case "x-kubernetes-list-type" if value == "atomic":
                continue  # the default
            case _ if key in KEPT or key in KEPT_HINTS:
                result[key] = value
            case _ if key not in DROPPED:
                raise ValueError(f"{where}: unknown keyword {key}")
    return result


def keep_defaults_of_list_keys(types: dict[str, Manifest], schemas: Manifest) -> None:
    """Restore the defaults of optional fields that are keys of a list."""
    for schema in list(types.values()):
        for prop in schema.get("properties", {}).values():
            for key in prop.get("x-kubernetes-list-map-keys", ()):
                item = prop["items"][CORE_TYPE]
                if key not in types[item].get("required", ()):
                    types[item]["properties"][key]["default"] = schemas[item]["properties"][key]["default"]


def main() -> None:
    """Write the file."""
    schemas = source()
    types = closure(schemas)
    keep_defaults_of_list_keys(types, schemas)
    TARGET.write_text(json.dumps(types, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
