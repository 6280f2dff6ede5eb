"""Removes fields that the custom resource definitions on the server do not declare. Pure.

An operator can be upgraded before its definitions, and Helm never upgrades them. Server-side apply then
rejects the whole object because of one new field. The error message is that of
sigs.k8s.io/structured-merge-diff.
"""

import re
from typing import Any

from pgoperator.kube.manifest import Manifest

_UNDECLARED = re.compile(r"(\.[^\s:]+(?:\[[^\]\n]*\][^\s:]*)*): field not declared in schema")
_ITEM = re.compile(r"\[[^\]]*\]")


def undeclared(message: str) -> list[str]:
    """Return the undeclared paths in an error message, such as `.status.repos[name="repo1"].reachable`."""
    return list(dict.fromkeys(_UNDECLARED.findall(message)))


def field_of(path: str) -> str:
    """Return a path without the items of lists, such as `.status.repos.reachable`."""
    return _ITEM.sub("", path)


def without(manifest: Manifest, path: str) -> Manifest:
    """Return the manifest without a field, also in all items of a list; unchanged if the field is absent."""
    steps = field_of(path).split(".")[1:]
    result: Manifest = _without(manifest, steps)
    return result


def _without(value: Any, steps: list[str]) -> Any:
    if isinstance(value, list):
        return [_without(item, steps) for item in value]
    if not isinstance(value, dict) or steps[0] not in value:
        return value
    if len(steps) == 1:
        return {name: below for name, below in value.items() if name != steps[0]}
    return {**value, steps[0]: _without(value[steps[0]], steps[1:])}
