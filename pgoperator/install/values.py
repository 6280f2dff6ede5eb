"""The schema of the values of the chart pg-db: the spec of a PerconaPGCluster, and the chart's own values."""

import json

from pgoperator.api import Manifest, PGCluster
from pgoperator.api.core import CORE_TYPE
from pgoperator.api.crd import schema

_KEPT = (
    "description",
    "enum",
    "maximum",
    "maxLength",
    "minimum",
    "minItems",
    "minLength",
    "pattern",
    "required",
)
_TEXTS: Manifest = {"type": ["object", "null"], "additionalProperties": {"type": "string"}}
_NAME: Manifest = {"type": ["string", "null"]}
_PLACEHOLDERS = ("name", "pgbouncer", "pguser", "postgres", "primaryuser")
_SECRETS = ("customReplicationTLSSecret", "customRootCATLSSecret", "customTLSSecret")


def schema_text() -> str:
    """Write values.schema.json, with which Helm rejects misspelt fields."""
    spec = _json_schema(schema(PGCluster, expand=False)["properties"]["spec"])
    fields = spec["properties"]
    for name in _PLACEHOLDERS:
        fields["secrets"]["properties"][name] = {
            "description": "Without effect, as in the chart of Percona's operator."
        }
    split = {"type": "object", "required": ["repository", "tag"]}
    image = fields["pmm"]["properties"]["image"]
    fields["pmm"]["properties"]["image"] = {"anyOf": [image, split]}
    # The chart adds pmm.secret, and the API server checks whether pmm is complete.
    fields["pmm"].pop("required", None)
    chart = {
        "global": {"type": "object"},
        "nameOverride": _NAME,
        "fullnameOverride": _NAME,
        "annotations": _TEXTS,
        "labels": _TEXTS,
        "finalizers": {"type": ["array", "null"], "items": {"type": "string"}},
        "repository": {"description": "Without effect, as in the chart of Percona's operator."},
        **{name: _secret(fields["secrets"]["properties"][name]) for name in _SECRETS},
    }
    spec = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **spec,
        "type": "object",
        "properties": dict(sorted((fields | chart).items())),
    }
    return json.dumps(spec, indent=1, ensure_ascii=False) + "\n"


def _secret(node: Manifest) -> Manifest:
    """Allow a Secret without a name, which is not used."""
    return {key: value for key, value in node.items() if key != "required"}


def _json_schema(node: Manifest) -> Manifest:
    """Turn a structural schema into one for values, where null omits a field."""
    if CORE_TYPE in node or "x-kubernetes-int-or-string" in node:
        return {"description": node["description"]} if "description" in node else {}
    result: Manifest = {key: node[key] for key in _KEPT if key in node}
    if "enum" in result:
        result["enum"] = [*result["enum"], None]
    if "type" in node:
        result["type"] = [node["type"], "null"]
    if "items" in node:
        result["items"] = _json_schema(node["items"])
    if isinstance(node.get("additionalProperties"), dict):
        result["additionalProperties"] = _json_schema(node["additionalProperties"])
    if "properties" in node:
        result["properties"] = {name: _json_schema(child) for name, child in node["properties"].items()}
        if "x-kubernetes-preserve-unknown-fields" not in node:
            result["additionalProperties"] = False
    return result
