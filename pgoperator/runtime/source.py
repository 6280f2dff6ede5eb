"""Watches as data: which changes trigger which keys."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import structlog

from pgoperator.kube.manifest import Key, Kind, Manifest, key_of
from pgoperator.kube.store import Event, Trim
from pgoperator.runtime.queue import WorkQueue

log = structlog.get_logger(__name__)


def always(old: Manifest | None, new: Manifest | None) -> bool:  # noqa: ARG001 - the shape of Watch.keep
    """Accept every change."""
    return True


def on_difference(aspect: Callable[[Manifest], Any]) -> Callable[[Manifest | None, Manifest | None], bool]:
    """Let through objects that appear, go, or change in this aspect."""

    def keep(old: Manifest | None, new: Manifest | None) -> bool:
        return old is None or new is None or aspect(old) != aspect(new)

    return keep


def itself(manifest: Manifest) -> Iterable[Key]:
    """The key of the object that changed."""
    return (key_of(manifest),)


@dataclass(frozen=True)
class Watch:
    """A watch on `kind`; watches of one kind and selector share one stream and one place in the store.

    `to_keys` is called with the object before and after the change, so a key that the object no longer maps
    to is triggered as well. `selector`: a label selector, as for kubectl -l. `keep(old, new)`: whether the
    change is relevant (None = the object does not exist). `trim` removes unused fields in place; if watches
    that share a stream have different trims, nothing is removed.
    """

    kind: Kind
    to_keys: Callable[[Manifest], Iterable[Key]]
    selector: str = ""
    keep: Callable[[Manifest | None, Manifest | None], bool] = always
    trim: Trim | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Connects one watch to one controller's queue."""

    watch: Watch
    queue: WorkQueue

    def offer(self, event: Event) -> None:
        """Add the keys of an event to the queue; an exception in `to_keys` loses only that event."""
        if not self._is_relevant(event):
            return
        try:
            keys = {
                key for side in (event.old, event.new) if side is not None for key in self.watch.to_keys(side)
            }
        except Exception:
            log.exception("watch event not handled", **self._of(event))
            return
        for key in keys:
            self.queue.add(key, low=event.initial)

    def _is_relevant(self, event: Event) -> bool:
        """Return the verdict of `keep`; an object that `keep` cannot read is always relevant."""
        try:
            return self.watch.keep(event.old, event.new)
        except Exception:
            log.exception("watch event not compared", **self._of(event))
            return True

    def _of(self, event: Event) -> dict[str, Any]:
        """Return the keys of a log line about the event."""
        name = (event.new or event.old or {}).get("metadata", {}).get("name")
        return {"controller": self.queue.name, "object": name}
