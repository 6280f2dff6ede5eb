"""Kubernetes Events for `kubectl describe`: one per state transition."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import structlog

from pgoperator.kube.client import Client
from pgoperator.kube.compare import digest
from pgoperator.kube.errors import AlreadyExists, ApiError, Forbidden, Invalid, NotFound
from pgoperator.kube.manifest import Manifest, uid_of

REMEMBERED = 4096  # (object, reason, type and message); about 1 MB when full
IN_FLIGHT = 64
MESSAGE = 1024  # maximum characters of a message
_NAME = 253 - 21  # room for a dot and a digest

log = structlog.get_logger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class Recorder:
    """Posts Events in the background; it never delays or fails a pass."""

    def __init__(
        self,
        client: Client,
        *,
        component: str = "percona-postgresql-operator",
        clock: Callable[[], datetime] = _now,
    ) -> None:
        """`component`: the source that `kubectl describe` shows."""
        self._client = client
        self._component = component
        self._clock = clock
        # (uid, reason, digest of type and message) -> whether the state lasts; an ended state is posted again
        # when it returns.
        self._known: OrderedDict[tuple[str, str, str], bool] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def event(
        self,
        regarding: Manifest,
        *,
        type: Literal["Normal", "Warning"],  # noqa: A002 - the field's name
        reason: str,
        message: str,
        began: bool = False,
    ) -> None:
        """Post an Event about `regarding`; the same type, reason and message are posted only once.

        Call `forget` when the state has ended, so that its next start is posted again. `began`: the caller
        has observed the start, so an Event that an earlier process posted within the hour was about another
        start.
        """
        fact = (uid_of(regarding), reason, digest([type, message]))
        lasting = self._known.get(fact)
        if lasting:
            self._known.move_to_end(fact)
            return
        if len(self._tasks) >= IN_FLIGHT:
            log.warning("event dropped", reason=reason, waiting=len(self._tasks))
            return
        self._known[fact] = True
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        manifest = self._manifest(regarding, type, reason, message, again=began or lasting is False)
        task = asyncio.create_task(self._post(manifest, fact))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def forget(self, regarding: Manifest, reason: str) -> None:
        """Record that the state `reason` has ended, so that its next start is posted again."""
        uid = uid_of(regarding)
        for fact in [fact for fact in self._known if fact[0] == uid and fact[1] == reason]:
            self._known[fact] = False

    async def close(self, limit: float = 2.0) -> None:
        """Wait up to `limit` seconds for Events in flight, then cancel them."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=limit)
        for task in self._tasks:
            task.cancel()

    async def _post(self, manifest: Manifest, fact: tuple[str, str, str]) -> None:
        try:
            await self._client.create(manifest)
        except AlreadyExists:
            return  # an earlier process posted it within the hour
        except ApiError as error:
            if not isinstance(error, (Forbidden, Invalid, NotFound)):
                self._known.pop(fact, None)  # the next pass with this state posts it
            log.warning("event not posted", reason=manifest["reason"], error=str(error))

    def _manifest(
        self, regarding: Manifest, type_: str, reason: str, message: str, *, again: bool
    ) -> Manifest:
        meta = regarding["metadata"]
        now = self._clock()
        # The name contains a digest of the fact and the hour, so a restarted operator does not repeat an
        # Event. A state that ended and has returned gets a new name.
        when = int(now.timestamp()) if again else int(now.timestamp() // 3600)
        fact = digest([meta.get("uid", ""), type_, reason, message, when])
        stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{meta['name'][:_NAME]}.{fact}",
                "namespace": meta.get("namespace") or "default",
            },
            "involvedObject": {
                "apiVersion": regarding["apiVersion"],
                "kind": regarding["kind"],
                "name": meta["name"],
                "namespace": meta.get("namespace", ""),
                "uid": meta.get("uid", ""),
                "resourceVersion": meta.get("resourceVersion", ""),
            },
            "type": type_,
            "reason": reason,
            "message": message[:MESSAGE],
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": "",
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }
