"""A manifest that knows more than the definitions on the server: what those do not declare is left out. Pure.

An operator may be upgraded before its definitions are; Helm never upgrades them. Server-side apply then
refuses the whole object for one new field (the sentence is that of sigs.k8s.io/structured-merge-diff).
"""

import re
from typing import Any

from pgoperator.kube.manifest import Manifest

_UNDECLARED = re.compile(r"(\.[^\s:]+(?:\[[^\]\n]*\][^\s:]*)*): field not declared in schema")
_ITEM = re.compile(r"\[[^\]]*\]")


def undeclared(message: str) -> list[str]:
    """The paths that an answer of the server calls undeclared: `.status.repos[name="repo1"].reachable`."""
    return list(dict.fromkeys(_UNDECLARED.findall(message)))


def without(manifest: Manifest, path: str) -> Manifest:
    """The manifest without the field, in every item of a list on the way; the same if it is not there."""
    steps = _ITEM.sub("", path).split(".")[1:]
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
