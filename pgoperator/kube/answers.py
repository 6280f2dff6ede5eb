"""Whether a response is one of a Kubernetes API server, and not of a proxy that answers in its place."""

from collections.abc import Callable
from typing import Any

from pgoperator.kube.errors import Unreachable
from pgoperator.kube.manifest import Manifest
from pgoperator.kube.transport import Request


def checked(answer: Any, request: Request, has_form: Callable[[Any], bool]) -> Manifest:
    """Return the response; Unreachable for JSON of another program, for example a proxy."""
    if not has_form(answer):
        raise Unreachable("the response is not from a Kubernetes API server", *request.target)
    checked: Manifest = answer
    return checked


def is_status(answer: Any) -> bool:
    """Whether it can be the answer to a deletion: an object, or a Status."""
    return isinstance(answer, dict)


def is_object(answer: Any) -> bool:
    """Whether it is an object with a name."""
    metadata = answer.get("metadata") if isinstance(answer, dict) else None
    return isinstance(metadata, dict) and isinstance(metadata.get("name"), str)


def is_list(answer: Any) -> bool:
    """Whether it is a list of objects with a version."""
    if not isinstance(answer, dict) or not isinstance(answer.get("metadata"), dict):
        return False
    items = answer.get("items", ())
    version = answer["metadata"].get("resourceVersion")
    return "items" in answer and isinstance(version, str) and all(map(is_object, items or ()))


def is_event(answer: Any) -> bool:
    """Whether it is a line of a watch."""
    if not isinstance(answer, dict) or not isinstance(answer.get("object"), dict):
        return False
    if answer.get("type") == "ERROR":
        return True
    metadata = answer["object"].get("metadata")
    has_version = isinstance(metadata, dict) and isinstance(metadata.get("resourceVersion"), str)
    return has_version and (answer.get("type") == "BOOKMARK" or is_object(answer["object"]))
