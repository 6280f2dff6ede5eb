"""Which changes wake which keys, as data."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from pgoperator.kube.manifest import Key, Kind, Manifest, key_of
from pgoperator.kube.store import Event, Trim
from pgoperator.runtime.queue import WorkQueue

log = structlog.get_logger(__name__)


def always(old: Manifest | None, new: Manifest | None) -> bool:  # noqa: ARG001 - the shape of Watch.keep
    """Let every change through."""
    return True


def itself(manifest: Manifest) -> Iterable[Key]:
    """The key of the object that changed."""
    return (key_of(manifest),)


@dataclass(frozen=True)
class Watch:
    """A watch on `kind`; watches of one kind and selector share one stream and one place in the store.

    `to_keys` is asked for the object before and after the change: a key that an object leaves is woken too.
    `selector`: labels, as for kubectl -l. `keep(old, new)`: whether the change matters (None = not there).
    `trim` removes in place what nobody reads; when watches that share a stream differ in it, nothing is
    removed.
    """

    kind: Kind
    to_keys: Callable[[Manifest], Iterable[Key]]
    selector: str = ""
    keep: Callable[[Manifest | None, Manifest | None], bool] = always
    trim: Trim | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """From one watch to one controller's queue."""

    watch: Watch
    queue: WorkQueue

    def offer(self, event: Event) -> None:
        """Wake the keys that the event concerns; a bug in `keep` or `to_keys` costs one event only."""
        try:
            if not self.watch.keep(event.old, event.new):
                return
            found = {
                key for side in (event.old, event.new) if side is not None for key in self.watch.to_keys(side)
            }
        except Exception:
            what = event.new or event.old or {}
            log.exception(
                "event not understood",
                controller=self.queue.name,
                object=what.get("metadata", {}).get("name"),
            )
            return
        for key in found:
            self.queue.add(key, low=event.initial)
