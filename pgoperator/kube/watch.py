"""Lists objects once, then watches for changes indefinitely.

A failed list never looks like an empty one: an object is removed from the shard only after a DELETED event or
a complete list without it.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import structlog

from pgoperator import metrics
from pgoperator.kube.backoff import Backoff
from pgoperator.kube.client import Client
from pgoperator.kube.errors import ApiError, Gone, Silent, from_status
from pgoperator.kube.manifest import Manifest, version_of
from pgoperator.kube.store import Event, Shard
from pgoperator.kube.transport import Sleep

# Seconds without data until a watch is opened again. Servers usually send a bookmark each minute, but clients
# must not rely on it: a kind without changes can stay silent.
SILENCE = 70.0
RELIST = 10  # silent watches in a row after which to list: the version to continue from may be in the future
REPEAT = 60.0  # seconds after which the warning about a watch that still fails is repeated
SESSION = (300, 600)  # seconds of one watch; random, so that watches do not all end together

log = structlog.get_logger(__name__)
Deliver = Callable[[Event], None]


class Watcher:
    """Keeps one shard of the store up to date and passes changes to `deliver`."""

    def __init__(
        self,
        client: Client,
        shard: Shard,
        deliver: Deliver,
        *,
        selector: str = "",
        silence: float = SILENCE,
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`selector`: labels, as for kubectl -l; `deliver` must not raise; times in seconds."""
        self._client = client
        self._shard = shard
        self._deliver = deliver
        self._selector = selector
        self._silence = silence
        self._sleep = sleep
        self._clock = clock
        self._warned_at = float("-inf")
        self._version = ""  # resourceVersion to continue from; "" = list first
        self._backoff = Backoff(0.1, 10.0)
        self._silent = 0  # silent watches in a row
        self._where = {"kind": shard.kind.kind, "namespace": shard.namespace or ""}

    async def run(self) -> None:
        """Follow the objects until cancelled; errors of the server are retried."""
        while True:
            heard = False
            try:
                if not self._version:
                    await self._list()
                heard = await self._follow()
            except Silent:
                self._silence_ended()
                continue
            except Gone:
                # The server no longer has the changes since this version. This is normal after a quiet period
                # or a restart of the server, so no warning is logged.
                self._version = ""
                self._restarted("gone")
            except ApiError as error:
                await self._failed(error)
                continue
            except Exception:
                # One unusual object must not end the operator.
                log.exception("watch failed unexpectedly", **self._where)
                self._version = ""
                self._restarted("error")
            if not heard:
                # Without this pause, a server or proxy that ends every watch at once would cause a busy loop.
                await self._sleep(self._backoff.next())

    async def _list(self) -> None:
        """Synchronize the shard with a complete list."""
        initial = not self._shard.synced
        gone = set(self._shard.places())
        version = ""
        pages = self._client.pages(self._shard.kind, self._shard.namespace, labels=self._selector)
        async for page, version in pages:  # noqa: B007 - used after the loop
            page.reverse()
            while page:  # emptied, so that it is not in memory while the next page is received
                manifest = page.pop()
                meta = manifest["metadata"]
                gone.discard((meta.get("namespace", ""), meta["name"]))
                self._put(manifest, initial=initial)
        for place in gone:
            self._notify(self._shard.drop(place))
        self._advance(version)
        self._shard.synced = True
        self._shard.problem = ""
        self._restarted("first" if initial else "listed")

    async def _follow(self) -> bool:
        """Watch until the server ends the watch; return whether any event was received."""
        heard = False
        async with aclosing(self._open()) as events:
            async for event in events:
                self._take(event["type"], event["object"])
                if not heard:
                    self._recovered()
                heard = True
                self._silent = 0
        return heard

    def _open(self) -> AsyncGenerator[Manifest, None]:
        return self._client.watch(
            self._shard.kind,
            self._shard.namespace,
            labels=self._selector,
            version=self._version,
            seconds=random.randint(*SESSION),  # noqa: S311 - spreads load
            silence=self._silence,
        )

    def _take(self, change: str, manifest: Manifest) -> None:
        """Process one event of the watch; ApiError for an event of type ERROR."""
        if change == "ERROR":
            raise from_status(
                code if isinstance(code := manifest.get("code"), int) else 500,
                str(manifest.get("reason") or ""),
                str(manifest.get("message") or ""),
                target=(self._where["kind"], self._where["namespace"], ""),
            )
        meta = manifest["metadata"]
        self._advance(meta["resourceVersion"])
        if change == "DELETED":
            self._notify(self._shard.drop((meta.get("namespace", ""), meta["name"])))
        elif change != "BOOKMARK":
            self._put(manifest)

    def _put(self, manifest: Manifest, *, initial: bool = False) -> None:
        """Store an object; an object that cannot be stored must not affect the others."""
        try:
            event = self._shard.put(manifest, initial=initial)
        except Exception:
            log.exception("object not stored", object=manifest["metadata"].get("name"), **self._where)
            return
        self._notify(event)

    def _advance(self, version: str) -> None:
        self._version = version
        self._shard.version = version_of({"metadata": {"resourceVersion": version}})
        metrics.WATCH_MESSAGE.labels(**self._where).set(time.time())

    def _notify(self, event: Event | None) -> None:
        if event is not None:
            self._deliver(event)

    async def _failed(self, error: ApiError) -> None:
        """Log the first failure and then one per REPEAT; wait for the backoff or the server's Retry-After."""
        delay = max(self._backoff.next(), error.retry_after or 0.0)
        self._shard.problem = error.reason
        facts = {"error": str(error), "retry_seconds": round(delay, 2), "failures": self._backoff.failures}
        if self._backoff.failures == 1 or self._clock() - self._warned_at >= REPEAT:
            self._warned_at = self._clock()
            log.warning("watch failed", **facts, **self._where)
        else:
            log.debug("watch failed", **facts, **self._where)
        self._restarted("error")
        await self._sleep(delay)

    def _silence_ended(self) -> None:
        """Prepare the next watch after a silent one: from the same version, now and then after a list."""
        self._recovered()  # the server had accepted the watch
        self._silent += 1
        if self._silent % RELIST == 0:
            self._version = ""
        self._restarted("silent")

    def _recovered(self) -> None:
        if self._backoff.failures:
            log.info("watch recovered", failures=self._backoff.failures, **self._where)
        self._backoff.reset()
        self._shard.problem = ""

    def _restarted(self, reason: str) -> None:
        metrics.WATCH_RESTARTS.labels(self._where["kind"], reason).inc()
