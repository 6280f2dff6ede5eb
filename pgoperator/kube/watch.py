"""List, then watch from there, for ever.

An error while listing never looks like an empty list: the shard changes only by what the server said, and
objects are dropped only after a complete list without them.
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
from pgoperator.kube.errors import ApiError, Gone, from_status
from pgoperator.kube.manifest import Manifest, version_of
from pgoperator.kube.store import Event, Shard
from pgoperator.kube.transport import Sleep

SILENCE = 70.0  # seconds; the server sends a bookmark each minute
SESSION = (300, 600)  # seconds that one watch lasts; drawn, so that they do not all end together

log = structlog.get_logger(__name__)
Deliver = Callable[[Event], None]


class Watcher:
    """Keeps one shard of the store true and tells `deliver` what changed."""

    def __init__(
        self,
        client: Client,
        shard: Shard,
        deliver: Deliver,
        *,
        selector: str = "",
        silence: float = SILENCE,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`selector`: labels, as for kubectl -l; `deliver` must not raise; times in seconds."""
        self._client = client
        self._shard = shard
        self._deliver = deliver
        self._selector = selector
        self._silence = silence
        self._sleep = sleep
        self._version = ""  # where to go on; "" = list first
        self._backoff = Backoff(0.1, 10.0)
        self._where = {"kind": shard.kind.kind, "namespace": shard.namespace or ""}

    async def run(self) -> None:
        """Follow the objects until cancelled; whatever the server does is survived."""
        while True:
            heard = False
            try:
                if not self._version:
                    await self._list()
                heard = await self._follow()
            except Gone:
                # What happened since is no longer kept by the server. Said at the start of a watch that was
                # quiet for long, or after a restart: not worth a warning.
                self._version = ""
                self._restarted("gone")
            except ApiError as error:
                await self._failed(error)
                continue
            if not heard:
                # A server or proxy that ends every watch at once must not be asked in a circle.
                await self._sleep(self._backoff.next())

    async def _list(self) -> None:
        """Make the shard equal to what the server has now."""
        initial = not self._shard.synced
        gone = set(self._shard.places())
        version = ""
        pages = self._client.pages(self._shard.kind, self._shard.namespace, labels=self._selector)
        async for page, version in pages:  # noqa: B007 - the last one counts
            page.reverse()
            while page:  # emptied, so that it is not in memory while the next page is on its way
                manifest = page.pop()
                meta = manifest["metadata"]
                gone.discard((meta.get("namespace", ""), meta["name"]))
                self._tell(self._shard.put(manifest, initial=initial))
        for place in gone:
            self._tell(self._shard.drop(place))
        self._advance(version)
        self._shard.synced = True
        self._restarted("first" if initial else "listed")

    async def _follow(self) -> bool:
        """Watch until the server ends it; whether it said anything."""
        heard = False
        async with aclosing(self._open()) as events:
            async for event in events:
                self._take(event["type"], event["object"])
                if not heard:
                    self._recovered()
                heard = True
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
        """Act on one event of the watch; ApiError for one of type ERROR."""
        if change == "ERROR":
            raise from_status(
                int(manifest.get("code", 500)),
                str(manifest.get("reason", "")),
                str(manifest.get("message", "")),
                target=(self._where["kind"], self._where["namespace"], ""),
            )
        meta = manifest["metadata"]
        self._advance(meta["resourceVersion"])
        if change == "DELETED":
            self._tell(self._shard.drop((meta.get("namespace", ""), meta["name"])))
        elif change != "BOOKMARK":
            self._tell(self._shard.put(manifest))

    def _advance(self, version: str) -> None:
        self._version = version
        self._shard.version = version_of({"metadata": {"resourceVersion": version}})
        metrics.WATCH_MESSAGE.labels(**self._where).set(time.time())

    def _tell(self, event: Event | None) -> None:
        if event is not None:
            self._deliver(event)

    async def _failed(self, error: ApiError) -> None:
        """Log the first failure of a series; wait, longer each time, or as long as the server asks."""
        delay = max(self._backoff.next(), error.retry_after or 0.0)
        write = log.warning if self._backoff.failures == 1 else log.debug
        write("watch failed", error=str(error), retry_seconds=round(delay, 2), **self._where)
        self._restarted("error")
        await self._sleep(delay)

    def _recovered(self) -> None:
        if self._backoff.failures:
            log.info("watch recovered", failures=self._backoff.failures, **self._where)
        self._backoff.reset()

    def _restarted(self, reason: str) -> None:
        metrics.WATCH_RESTARTS.labels(self._where["kind"], reason).inc()
