"""Generates CustomResourceDefinitions from the models: `crd(PGCluster)` returns the manifest.

Pydantic generates JSON Schema, but the API server requires a structural schema. The conversion inlines
references, removes the null branch of optional fields, inserts the schemas of Kubernetes types, and raises
ValueError for an unknown keyword, so that nothing is lost silently.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from pgoperator.api.base import CR_VERSION, GROUP, VERSION, Manifest, Resource
from pgoperator.api.core import CORE_TYPE

VERSION_LABEL = "pgv2.percona.com/version"

_KEPT = frozenset(
    {
        "description",
        "enum",
        "format",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minimum",
        "pattern",
        "type",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
        "x-kubernetes-validations",
    }
)
_REQUIRED = "x-required"
_DROPPED = frozenset({"title", "required", _REQUIRED})
"""Keywords that the API server does not use, and those that `_properties` handles."""
_INT_OR_STRING = "x-kubernetes-int-or-string"
_LIST_TYPE = "x-kubernetes-list-type"


def crd(kind: type[Resource]) -> Manifest:
    """Build the CustomResourceDefinition of a kind."""
    names = kind.NAMES
    singular = names.kind.lower()
    version: Manifest = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema(kind)},
        "subresources": {"status": {}},
    }
    if names.columns:
        version["additionalPrinterColumns"] = [
            {"name": column.name, "type": column.type, "jsonPath": column.path}
            | ({"priority": 1} if column.wide else {})
            for column in names.columns
        ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{names.plural}.{GROUP}",
            "labels": {VERSION_LABEL: f"v{CR_VERSION}"},
        },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": names.kind,
                "listKind": f"{names.kind}List",
                "plural": names.plural,
                "singular": singular,
                **({"shortNames": list(names.short_names)} if names.short_names else {}),
            },
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def schema(kind: type[Resource], *, expand: bool = True) -> Manifest:
    """Build the structural schema of a kind; without `expand`, Kubernetes types stay references."""
    document = kind.model_json_schema()
    walk = Structural(document.get("$defs", {}), expand=expand)
    parts = document["properties"]
    return {
        "description": document["description"],
        "type": "object",
        "required": ["metadata", "spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Group and version of this kind."},
            "kind": {"type": "string", "description": "Name of this kind."},
            "metadata": {"type": "object"},
            "spec": walk.convert(parts["spec"], "spec"),
            "status": walk.convert(parts["status"], "status"),
        },
    }


@cache
def core_types() -> dict[str, Manifest]:
    """Read the schemas of the Kubernetes types."""
    types: dict[str, Manifest] = json.loads(Path(__file__).with_name("core_types.json").read_text())
    return types


class Structural:
    """Converts one schema document of pydantic to structural schemas."""

    def __init__(self, definitions: dict[str, Manifest], *, expand: bool) -> None:
        self._definitions = definitions
        self._expand = expand
        self._nested: dict[str, Callable[[Any, Manifest, str], Manifest]] = {
            "anyOf": self._optional,
            "properties": self._properties,
            "items": self._items,
            "additionalProperties": self._additional,
        }

    def convert(self, node: Manifest, where: str) -> Manifest:
        """Return the structural form of a node; `where`: its path, for errors."""
        result: Manifest = {}
        for key, value in node.items():
            result |= self._keyword(key, value, node, where)
        return result

    def _keyword(self, key: str, value: Any, node: Manifest, where: str) -> Manifest:
        """Convert one keyword together with the keywords that depend on it."""
        if key == "$ref":
            return self.convert(self._definitions[value.rsplit("/", 1)[-1]], where)
        if key == CORE_TYPE:
            return self._core(value)
        if key == "default":
            return _default(value, where)
        if key == "anyOf" and _INT_OR_STRING in node:
            return {}
        if key in self._nested:
            return self._nested[key](value, node, where)
        return _plain(key, value, where)

    def _optional(self, branches: list[Manifest], _: Manifest, where: str) -> Manifest:
        """Convert the only branch that is not null."""
        real = [branch for branch in branches if branch.get("type") != "null"]
        if len(real) != 1:
            raise ValueError(f"{where}: a choice between {len(real)} forms is not structural")
        return self.convert(real[0], where)

    def _properties(self, properties: dict[str, Manifest], node: Manifest, where: str) -> Manifest:
        """Convert the fields of an object and the list of required fields."""
        required = set(node.get("required", ()))
        required |= {name for name, child in properties.items() if child.get(_REQUIRED)}
        return {
            "properties": {
                name: self.convert(child, f"{where}.{name}") for name, child in sorted(properties.items())
            },
            **({"required": sorted(required)} if required else {}),
        }

    def _additional(self, value: Manifest | bool, node: Manifest, where: str) -> Manifest:
        """Convert a map; a map with arbitrary values becomes a free-form object."""
        if CORE_TYPE in node or value is False:
            return {}
        if value is True:
            return {"x-kubernetes-preserve-unknown-fields": True}
        return {"additionalProperties": self.convert(value, f"{where}{{}}")}

    def _items(self, value: Manifest, node: Manifest, where: str) -> Manifest:
        """Convert the items of a list, without the description of their class."""
        item = self.convert(value, f"{where}[]")
        item.pop("description", None)
        if node.get(_LIST_TYPE) != "map":
            item = _without_map_types(item)
        return {"items": item}

    def _core(self, name: str) -> Manifest:
        """Replace a reference to a Kubernetes type by its schema."""
        if not self._expand:
            return {CORE_TYPE: name}
        return _inline(core_types()[name])


def _inline(node: Manifest) -> Manifest:
    """Resolve the references in the schema of a Kubernetes type."""
    if CORE_TYPE in node:
        return _inline(core_types()[node[CORE_TYPE]])
    result = _children(node, _inline)
    if "items" in result and node.get(_LIST_TYPE) != "map":
        result["items"] = _without_map_types(result["items"])
    return result


def _without_map_types(node: Manifest) -> Manifest:
    """Remove map types inside an atomic list: it has only one owner."""
    kept = {key: value for key, value in node.items() if key != "x-kubernetes-map-type"}
    return _children(kept, _without_map_types)


def _children(node: Manifest, convert: Callable[[Manifest], Manifest]) -> Manifest:
    """Copy a schema and convert its nested schemas."""
    result = dict(node)
    for key in ("items", "additionalProperties"):
        if key in node:
            result[key] = convert(node[key])
    if "properties" in node:
        result["properties"] = {name: convert(child) for name, child in node["properties"].items()}
    return result


def _plain(key: str, value: Any, where: str) -> Manifest:
    """Keep or drop a known keyword; ValueError for an unknown one."""
    if key in _KEPT:
        return {key: value}
    if key == "const":
        return {"enum": [value]}
    if key in _DROPPED:
        return {}
    raise ValueError(f"{where}: unknown keyword {key}")


def _default(value: Any, where: str) -> Manifest:
    """Keep a default that the API server should set; null only means that the field is optional."""
    if value is None:
        return {}
    if isinstance(value, bool | int | str):
        return {"default": value}
    raise ValueError(f"{where}: the default {value!r} cannot be in the CRD; use default_factory")
