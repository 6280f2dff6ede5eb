"""Kubernetes objects as plain dicts, and accessors for their metadata."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

Manifest = dict[str, Any]
LAST_RANK = 99


@dataclass(frozen=True, slots=True)
class Kind:
    """How the API server addresses objects of one kind: `Kind("apps/v1", "Deployment", "deployments")`.

    `metadata_only`: lists and watches ask for metadata, and the server sends nothing else. `rank`: objects of
    a lower rank are written first; those without one come last, together. `prunable`: objects of a cluster go
    when the cluster does not want them any more. Claims and Secrets never do. `owner_field`: the field of the
    spec that names the cluster which the object is about.
    """

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True
    metadata_only: bool = False
    rank: int = LAST_RANK
    prunable: bool = False
    owner_field: str = ""

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> str:
        """Return the URL path of an object, of its subresource, or of the collection when `name` is None.

        `namespace` None selects the collection over all namespaces. ValueError for a name that no object can
        have: an empty name, for example, would select the collection.
        """
        root = "/api/" if "/" not in self.api_version else "/apis/"
        parts = [root + self.api_version]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", _segment(namespace)]
        parts.append(self.plural)
        if name is not None:
            parts.append(_segment(name))
        if subresource is not None:
            parts.append(subresource)
        return "/".join(parts)


def is_name(text: str) -> bool:
    """Return whether an object can have this name in a URL, by the rule that the API server applies."""
    return text not in {"", ".", ".."} and "/" not in text and "%" not in text


def _segment(name: str) -> str:
    if not is_name(name):
        raise ValueError(f"no object can have the name {name!r}")
    return quote(name, safe="")


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Identity of one object: kind as in a manifest, namespace ("" if cluster-scoped), name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def key_of(manifest: Manifest) -> Key:
    """Return the key of `manifest`; KeyError when it has no kind or name."""
    meta = manifest["metadata"]
    return Key(manifest["kind"], meta.get("namespace", ""), meta["name"])


def name_of(manifest: Manifest) -> str:
    """Return metadata.name."""
    return str(manifest["metadata"]["name"])


def uid_of(manifest: Manifest) -> str:
    """Return metadata.uid, "" for an object that is not from the server."""
    return str(manifest["metadata"].get("uid", ""))


def labels_of(manifest: Manifest) -> Mapping[str, str]:
    """Return metadata.labels, empty when absent."""
    return manifest.get("metadata", {}).get("labels") or {}


def annotations_of(manifest: Manifest) -> Mapping[str, str]:
    """Return metadata.annotations, empty when absent."""
    return manifest.get("metadata", {}).get("annotations") or {}


def files_of(manifest: Manifest) -> dict[str, bytes]:
    """Return the data of a Secret or ConfigMap as bytes."""
    data, binary = manifest.get("data") or {}, manifest.get("binaryData") or {}
    if manifest.get("kind") == "ConfigMap":
        return {key: text.encode() for key, text in data.items()} | _decoded(binary)
    return _decoded(data)


def _decoded(data: Mapping[str, str | None]) -> dict[str, bytes]:
    return {key: b64decode(value or "") for key, value in data.items()}


def encoded(data: Mapping[str, bytes]) -> dict[str, str]:
    """Return bytes as the data of a Secret."""
    return {key: b64encode(value).decode() for key, value in data.items()}


def is_deleting(manifest: Manifest) -> bool:
    """Return whether the object is being deleted, for example waits for its finalizers."""
    return "deletionTimestamp" in manifest["metadata"]


def controller_of(manifest: Manifest) -> Manifest | None:
    """Return the owner reference of the object's controller, None without a controller."""
    references = manifest["metadata"].get("ownerReferences") or ()
    return next((reference for reference in references if reference.get("controller")), None)


def owner_of(manifest: Manifest) -> str | None:
    """Return the uid of the object's controller, None without a controller."""
    reference = controller_of(manifest)
    return None if reference is None else str(reference["uid"])


def owner_reference(owner: Manifest) -> Manifest:
    """Return the owner reference that makes `owner` the controller of an object; it goes with its owner."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def owned(manifest: Manifest, owner: Manifest) -> Manifest:
    """Return `manifest` with `owner` as its controller."""
    return manifest | {"metadata": manifest["metadata"] | {"ownerReferences": [owner_reference(owner)]}}


def version_of(manifest: Manifest) -> int:
    """Return metadata.resourceVersion as a number, 0 when absent.

    Versions of one resource type are ordered (KEP-5504); they are revisions of etcd.
    """
    text = str(manifest.get("metadata", {}).get("resourceVersion", "0"))
    return int(text) if text.isdigit() else 0
