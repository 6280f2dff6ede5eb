"""Kubernetes objects as plain dicts, and the few questions everybody asks of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """How the API server addresses objects of one kind: `Kind("apps/v1", "Deployment", "deployments")`.

    `metadata_only`: lists and watches ask for metadata, and the server sends nothing else.
    """

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True
    metadata_only: bool = False

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> str:
        """URL path of an object, of its subresource, or of the collection when `name` is None.

        `namespace=None` of a namespaced kind is the collection over all namespaces.
        """
        root = "/api/" if "/" not in self.api_version else "/apis/"
        parts = [root + self.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/".join(parts)


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Name of one object: kind (the word, as in a manifest), namespace ("" if cluster-wide), name."""

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
    """Return metadata.uid, "" for an object the server has not seen."""
    return str(manifest["metadata"].get("uid", ""))


def labels_of(manifest: Manifest) -> Mapping[str, str]:
    """Return metadata.labels, empty when absent."""
    return manifest.get("metadata", {}).get("labels") or {}


def annotations_of(manifest: Manifest) -> Mapping[str, str]:
    """Return metadata.annotations, empty when absent."""
    return manifest.get("metadata", {}).get("annotations") or {}


def is_deleting(manifest: Manifest) -> bool:
    """Tell whether the object is on its way out (it may still have finalizers)."""
    return "deletionTimestamp" in manifest["metadata"]


def controller_of(manifest: Manifest) -> Manifest | None:
    """Return the owner reference of the object's controller, None when nobody controls it."""
    references = manifest["metadata"].get("ownerReferences") or ()
    return next((reference for reference in references if reference.get("controller")), None)


def owner_of(manifest: Manifest) -> str | None:
    """Return the uid of the object's controller, None when nobody controls it."""
    reference = controller_of(manifest)
    return None if reference is None else str(reference["uid"])


def version_of(manifest: Manifest) -> int:
    """Return metadata.resourceVersion as a number, 0 when absent.

    The server promises an order between versions of one resource type (KEP-5504); etcd's revisions are that.
    """
    text = str(manifest.get("metadata", {}).get("resourceVersion", "0"))
    return int(text) if text.isdigit() else 0
