"""Copies of the watched objects, as compact JSON: a tenth of the memory of parsed objects.

Watches write, each to a shard of its own; reconcilers read. What a reader gets is a fresh copy, his to
change.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from sys import intern

import orjson
import structlog

from pgoperator.kube.manifest import Key, Kind, Manifest, labels_of, version_of

log = structlog.get_logger(__name__)
Trim = Callable[[Manifest], None]


@dataclass(frozen=True, slots=True)
class Event:
    """A change of one object: `old` None = new to us, `new` None = gone."""

    old: Manifest | None
    new: Manifest | None
    initial: bool = False  # from the first list: nothing has happened, we have only just looked


@dataclass(slots=True)
class Shard:
    """The objects of one watch; `namespace` None = all of them. Only the watch writes."""

    kind: Kind
    namespace: str | None
    index_label: str = ""
    trim: Trim | None = None
    synced: bool = False  # the first list is complete
    version: int = 0  # how far the watch has seen: events and bookmarks up to this resourceVersion
    _objects: dict[tuple[str, str], bytes] = field(default_factory=dict)  # (namespace, name) -> JSON
    _index: dict[tuple[str, str], set[str]] = field(default_factory=dict)  # (namespace, label) -> names

    def put(self, manifest: Manifest, *, initial: bool = False) -> Event | None:
        """Keep `manifest` (and change it: trimmed); None when it is the version that is there."""
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
                # Trimming saves memory, no more: one odd object must not end the watch.
                log.exception("object not trimmed", kind=self.kind.kind, object=place[1])
        self._unindex(place, old)
        # A copy: what orjson returns sits in the buffer it wrote to, up to six times as large.
        self._objects[place] = bytes(memoryview(orjson.dumps(manifest)))
        if value := labels_of(manifest).get(self.index_label):
            self._index.setdefault((place[0], intern(value)), set()).add(place[1])
        return Event(old, manifest, initial)

    def drop(self, place: tuple[str, str]) -> Event | None:
        """Forget the object at (namespace, name); None when it was not there."""
        old = self.read(place)
        if old is None:
            return None
        self._unindex(place, old)
        del self._objects[place]
        return Event(old, None)

    def read(self, place: tuple[str, str]) -> Manifest | None:
        """Return the object at (namespace, name)."""
        raw = self._objects.get(place)
        return None if raw is None else orjson.loads(raw)

    def places(self) -> list[tuple[str, str]]:
        """Return (namespace, name) of every object."""
        return list(self._objects)

    def candidates(self, namespace: str, labels: Mapping[str, str]) -> Iterable[tuple[str, str]]:
        """Return the places in `namespace` that may carry `labels`; exact in the indexed label only."""
        if self.index_label and self.index_label in labels:
            names = self._index.get((namespace, labels[self.index_label]), ())
            return [(namespace, name) for name in names]
        return [place for place in self._objects if place[0] == namespace]

    def _unindex(self, place: tuple[str, str], old: Manifest | None) -> None:
        value = labels_of(old).get(self.index_label) if old is not None else None
        names = self._index.get((place[0], value)) if value else None
        if names is not None and value is not None:
            names.discard(place[1])
            if not names:
                del self._index[place[0], value]


class Store:
    """What reconcilers know of the cluster; as old as the watches are behind, usually milliseconds."""

    def __init__(self, index_label: str = "") -> None:
        """`index_label`: the label that `select` finds without reading every object of the namespace."""
        self._index_label = index_label
        self._shards: dict[str, list[Shard]] = {}

    def open(self, kind: Kind, namespace: str | None, trim: Trim | None = None) -> Shard:
        """Return a new shard for one watch of `kind`."""
        shard = Shard(kind, namespace, self._index_label, trim)
        self._shards.setdefault(kind.kind, []).append(shard)
        return shard

    @property
    def synced(self) -> bool:
        """Whether every watch has completed its first list."""
        return all(shard.synced for shards in self._shards.values() for shard in shards)

    def unsynced(self) -> list[str]:
        """Return the kinds that are still being listed for the first time."""
        return sorted(kind for kind, shards in self._shards.items() if not all(s.synced for s in shards))

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """Return a copy of the object; None when there is none that a watch selects."""
        for shard in self._of(kind, namespace):
            manifest = shard.read((namespace, name))
            if manifest is not None:
                return manifest
        return None

    def select(self, kind: Kind, namespace: str, labels: Mapping[str, str]) -> list[Manifest]:
        """Return copies of the objects in `namespace` that carry all of `labels`, sorted by name."""
        found: dict[str, Manifest] = {}
        for shard in self._of(kind, namespace):
            for place in shard.candidates(namespace, labels):
                manifest = shard.read(place)
                if manifest is not None and labels.items() <= labels_of(manifest).items():
                    found.setdefault(place[1], manifest)
        return [found[name] for name in sorted(found)]

    def keys(self, kind: Kind) -> list[Key]:
        """Return the keys of every object of `kind`, sorted."""
        places = {place for shard in self._shards.get(kind.kind, ()) for place in shard.places()}
        return [Key(kind.kind, namespace, name) for namespace, name in sorted(places)]

    def seen(self, kind: Kind, namespace: str) -> int | None:
        """Return the resourceVersion up to which changes are known; None when nobody watches."""
        return min((shard.version for shard in self._of(kind, namespace)), default=None)

    def _of(self, kind: Kind, namespace: str) -> Iterator[Shard]:
        for shard in self._shards.get(kind.kind, ()):
            if shard.namespace is None or shard.namespace == namespace:
                yield shard
