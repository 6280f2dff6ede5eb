"""Copies of the watched objects as compact JSON, which needs a tenth of the memory of parsed objects.

Each watch writes to its own shard; reconcilers read. A reader gets a fresh copy that it can change.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from sys import intern

import orjson
import structlog

from pgoperator import limits
from pgoperator.digest import digest
from pgoperator.kube.manifest import Key, Kind, Manifest, labels_of, version_of

log = structlog.get_logger(__name__)
Trim = Callable[[Manifest], None]
DATA = 32 * 1024 * 1024
"""Bytes of a namespace's Secrets, or ConfigMaps, that are kept with their data: those of 300 clusters.

Beyond that the operator reads or writes an object in each pass: slower, but one namespace cannot use up the
memory of all.
"""
_DATA_FIELDS = ("data", "binaryData")


@dataclass(frozen=True, slots=True)
class Event:
    """A change of one object: `old` None = not in the store before, `new` None = deleted."""

    old: Manifest | None
    new: Manifest | None
    initial: bool = False  # from the first list, not from a change


@dataclass(slots=True)
class Shard:
    """The objects of one watch; `namespace` None = all namespaces. Only the watch writes."""

    kind: Kind
    namespace: str | None
    index_label: str = ""
    trim: Trim | None = None
    synced: bool = False  # the first list is complete
    version: int = 0  # resourceVersion of the last list, event or bookmark
    problem: str = ""  # the reason of the last failure, while the watch fails
    _objects: dict[tuple[str, str], bytes] = field(default_factory=dict)  # (namespace, name) -> JSON
    # (namespace, value of the label), and (namespace, value of the kind's owner_field) -> names
    _by_label: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    _by_owner: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    _data: Counter[str] = field(default_factory=Counter)  # namespace -> bytes of objects with data

    @property
    def title(self) -> str:
        """The kind and where it is watched, with the problem, if any."""
        where = f" in namespace {self.namespace}" if self.namespace is not None else ""
        return f"{self.kind.kind}{where}" + (f" ({self.problem})" if self.problem else "")

    def put(self, manifest: Manifest, *, initial: bool = False) -> Event | None:
        """Store `manifest` (trimmed in place) and return the change; None when this version is stored."""
        meta = manifest["metadata"]
        place = (intern(meta.get("namespace", "")), meta["name"])
        old = self.read(place)
        if old is not None and version_of(old) == version_of(manifest):
            return None
        meta.pop("managedFields", None)
        if self.trim is not None:
            try:
                self.trim(manifest)
            except Exception:
                # Trimming only saves memory: one unusual object must not end the watch.
                log.exception("object not trimmed", kind=self.kind.kind, object=place[1])
        manifest, raw = _encoded(manifest)
        self._unindex(place, old)
        if _has_data(manifest) and self._data[place[0]] + len(raw) > DATA:
            log.warning("too much data in one namespace", kind=self.kind.kind, namespace=place[0])
            _replace_data(manifest)
            raw = orjson.dumps(manifest)
        if _has_data(manifest):
            self._data[place[0]] += len(raw)
        # A copy: the result of orjson keeps its output buffer, which can be six times as large.
        self._objects[place] = bytes(memoryview(raw))
        for index, value in self._indexed(manifest):
            index.setdefault((place[0], intern(value)), set()).add(place[1])
        return Event(old, manifest, initial)

    def drop(self, place: tuple[str, str]) -> Event | None:
        """Remove the object at (namespace, name); return the change, None when it was not stored."""
        old = self.read(place)
        if old is None:
            return None
        self._unindex(place, old)
        del self._objects[place]
        return Event(old, None)

    def read(self, place: tuple[str, str]) -> Manifest | None:
        """Return a copy of the object at (namespace, name), None when it is not stored."""
        raw = self._objects.get(place)
        return None if raw is None else orjson.loads(raw)

    def places(self) -> list[tuple[str, str]]:
        """Return (namespace, name) of every object."""
        return list(self._objects)

    def candidates(self, namespace: str, labels: Mapping[str, str]) -> Iterable[tuple[str, str]]:
        """Return the places in `namespace` that can have `labels`; only the indexed label is exact."""
        if self.index_label and self.index_label in labels:
            names = self._by_label.get((namespace, labels[self.index_label]), ())
            return [(namespace, name) for name in names]
        return [place for place in self._objects if place[0] == namespace]

    def owned_by(self, namespace: str, owner: str) -> list[tuple[str, str]]:
        """Return the places in `namespace` whose objects name `owner` in the kind's `owner_field`."""
        return [(namespace, name) for name in self._by_owner.get((namespace, owner), ())]

    def _indexed(self, manifest: Manifest) -> Iterator[tuple[dict[tuple[str, str], set[str]], str]]:
        """The object's value in each index."""
        if value := labels_of(manifest).get(self.index_label):
            yield self._by_label, value
        spec = manifest.get("spec") if self.kind.owner_field else None
        owner = spec.get(self.kind.owner_field) if isinstance(spec, dict) else None
        if owner and isinstance(owner, str):
            yield self._by_owner, owner

    def _unindex(self, place: tuple[str, str], old: Manifest | None) -> None:
        if old is not None and _has_data(old):
            self._data[place[0]] -= len(self._objects[place])
        for index, value in self._indexed(old) if old is not None else ():
            names = index.get((place[0], value), set())
            names.discard(place[1])
            if not names:
                index.pop((place[0], value), None)


def _has_data(manifest: Manifest) -> bool:
    return any(name in manifest for name in _DATA_FIELDS)


def _replace_data(manifest: Manifest) -> None:
    """Keep only a digest of the data, so that a change is still a change; readers find an empty object."""
    data = {name: manifest.pop(name) for name in _DATA_FIELDS if name in manifest}
    manifest["dataDigest"] = digest(orjson.dumps(data, option=orjson.OPT_SORT_KEYS))


def _encoded(manifest: Manifest) -> tuple[Manifest, bytes]:
    """Return the object as it is stored, and its JSON; orjson writes fewer levels than it reads."""
    try:
        return manifest, orjson.dumps(manifest)
    except orjson.JSONEncodeError:
        manifest = limits.cut(manifest)
        return manifest, orjson.dumps(manifest)


class Store:
    """The watched objects, for reconcilers; they lag behind the server, usually by milliseconds."""

    def __init__(self, index_label: str = "") -> None:
        """`index_label`: a label that `select` finds without reading all objects of the namespace."""
        self.index_label = index_label
        self._shards: dict[str, list[Shard]] = {}

    def open(self, kind: Kind, namespace: str | None, trim: Trim | None = None) -> Shard:
        """Return a new shard for one watch of `kind`."""
        shard = Shard(kind, namespace, self.index_label, trim)
        self._shards.setdefault(kind.kind, []).append(shard)
        return shard

    @property
    def synced(self) -> bool:
        """Whether every watch has completed its first list."""
        return all(shard.synced for shards in self._shards.values() for shard in shards)

    def unsynced(self) -> list[str]:
        """Return the kinds whose first list is incomplete, each with its namespace and problem."""
        shards = (shard for shards in self._shards.values() for shard in shards)
        return sorted(shard.title for shard in shards if not shard.synced)

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """Return a copy of the object; None when no watch has it."""
        for shard in self._of(kind, namespace):
            manifest = shard.read((namespace, name))
            if manifest is not None:
                return manifest
        return None

    def select(self, kind: Kind, namespace: str, labels: Mapping[str, str]) -> list[Manifest]:
        """Return copies of the objects in `namespace` with all of `labels`, sorted by name."""
        selected: dict[str, Manifest] = {}
        for shard in self._of(kind, namespace):
            for place in shard.candidates(namespace, labels):
                manifest = shard.read(place)
                if manifest is not None and labels.items() <= labels_of(manifest).items():
                    selected.setdefault(place[1], manifest)
        return [selected[name] for name in sorted(selected)]

    def owned_by(self, kind: Kind, namespace: str, owner: str) -> list[Manifest]:
        """Return copies of the objects in `namespace` whose `owner_field` names `owner`, sorted by name.

        Its cost does not grow with the objects of others.
        """
        selected: dict[str, Manifest] = {}
        for shard in self._of(kind, namespace):
            for place in shard.owned_by(namespace, owner):
                manifest = shard.read(place)
                if manifest is not None:
                    selected.setdefault(place[1], manifest)
        return [selected[name] for name in sorted(selected)]

    def keys(self, kind: Kind) -> list[Key]:
        """Return the keys of every object of `kind`, sorted."""
        places = {place for shard in self._shards.get(kind.kind, ()) for place in shard.places()}
        return [Key(kind.kind, namespace, name) for namespace, name in sorted(places)]

    def seen(self, kind: Kind, namespace: str) -> int | None:
        """Return the resourceVersion up to which changes are stored; None when the kind is not watched."""
        return min((shard.version for shard in self._of(kind, namespace)), default=None)

    def _of(self, kind: Kind, namespace: str) -> Iterator[Shard]:
        for shard in self._shards.get(kind.kind, ()):
            if shard.namespace is None or shard.namespace == namespace:
                yield shard
