"""Kubernetes Events: one per change of state, for `kubectl describe`."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import structlog

from pgoperator.kube.client import Client
from pgoperator.kube.compare import digest
from pgoperator.kube.errors import AlreadyExists, ApiError
from pgoperator.kube.manifest import Manifest, uid_of

REMEMBERED = 4096  # (object, reason, message); about 1 MB when full
IN_FLIGHT = 64
MESSAGE = 1024  # characters that the server takes
_NAME = 253 - 21  # room for a dot and a digest

log = structlog.get_logger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class Recorder:
    """Posts Events without ever delaying or failing a pass."""

    def __init__(
        self,
        client: Client,
        *,
        component: str = "percona-postgresql-operator",
        clock: Callable[[], datetime] = _now,
    ) -> None:
        """`component` is what `kubectl describe` shows as the source."""
        self._client = client
        self._component = component
        self._clock = clock
        # (uid, reason, message) -> whether that state lasts; one that ended may be told again.
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
        """Post an Event about `regarding`; the same reason and message about it is posted once.

        Call `forget` when the state has ended, if its next beginning is to be told again. `began`: the caller
        has seen it begin, so that what an earlier process of ours told within the hour was another time.
        """
        fact = (uid_of(regarding), reason, digest(message))
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
        task = asyncio.create_task(self._post(manifest))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def forget(self, regarding: Manifest, reason: str) -> None:
        """Say that the state `reason` has ended: its next beginning is news."""
        uid = uid_of(regarding)
        for fact in [fact for fact in self._known if fact[0] == uid and fact[1] == reason]:
            self._known[fact] = False

    async def close(self, limit: float = 2.0) -> None:
        """Wait up to `limit` seconds for what is under way."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=limit)
        for task in self._tasks:
            task.cancel()

    async def _post(self, manifest: Manifest) -> None:
        try:
            await self._client.create(manifest)
        except AlreadyExists:
            return  # told by an earlier process of ours, within the hour that Events are kept
        except ApiError as error:
            log.warning("event not posted", reason=manifest["reason"], error=str(error))

    def _manifest(
        self, regarding: Manifest, type_: str, reason: str, message: str, *, again: bool
    ) -> Manifest:
        meta = regarding["metadata"]
        now = self._clock()
        # A name made from the fact and the hour: an operator that starts again does not repeat what it has
        # said. A state that ended and has come back is told at once.
        when = int(now.timestamp()) if again else int(now.timestamp() // 3600)
        fact = digest([meta.get("uid", ""), reason, message, when])
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
