"""Starts and stops watches, leader election and workers."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import structlog

from pgoperator import labels
from pgoperator.context import Context
from pgoperator.kube.apply import Applier
from pgoperator.kube.client import Client
from pgoperator.kube.events import Recorder
from pgoperator.kube.lease import Election, LeaseLost
from pgoperator.kube.manifest import Kind
from pgoperator.kube.store import Event, Store, Trim
from pgoperator.kube.watch import Watcher
from pgoperator.runtime.controller import Controller, Workers
from pgoperator.runtime.queue import WorkQueue
from pgoperator.runtime.source import Route
from pgoperator.settings import Settings

# Seconds, one limit per phase of the shutdown; together less than the pod's 30 s of grace.
FINISH, CANCEL, RELEASE, TELL = 20.0, 1.5, 2.0, 1.0
_LOOK = 0.05

log = structlog.get_logger(__name__)


class Manager:
    """Runs `controllers` for the watched namespaces; create it in the running event loop."""

    def __init__(
        self,
        settings: Settings,
        client: Client,
        controllers: Sequence[Controller],
        *,
        index_label: str = labels.CLUSTER,
        synced: Callable[[], None] = lambda: None,
        finish: float = FINISH,
    ) -> None:
        """`synced` is called after the first list of all watches; `finish`: seconds for passes to end."""
        self._finish = finish
        self._on_sync = synced
        self.store = Store(index_label)
        self.context = Context(
            client,
            self.store,
            Applier(client, self.store),
            Recorder(client),
            settings,
            lambda: datetime.now(UTC),
        )
        self.controllers = [
            Workers(controller, self.context, WorkQueue(controller.name, workers=controller.workers))
            for controller in controllers
        ]
        self._watchers = list(self._open_watches())
        self.election: Election | None = None
        if settings.lease.enabled:
            identity = f"{socket.gethostname()}_{os.getpid()}_{uuid4().hex[:8]}"
            # A separate lane: many slow requests of passes must not cost the leadership.
            self.election = Election(client.lane(), settings.operator_namespace, settings.lease, identity)
        self._working: list[asyncio.Task[None]] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set; LeaseLost when another process can lead, other errors are bugs."""
        watching = [asyncio.create_task(watcher.run()) for watcher in self._watchers]
        leading = asyncio.create_task(self._lead())
        stopping = asyncio.create_task(stop.wait())
        try:
            tasks: set[asyncio.Task[Any]] = {*watching, leading, stopping}
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in (*watching, leading):
                if task.done():
                    task.result()  # a watch or the election ends only with an error
            await self._wind_down(leading)
        except LeaseLost:
            raise
        except Exception:
            # A bug: another operator, or this one after its restart, must not wait until the Lease expires.
            self._close_queues()
            await _cancel([*self._working, leading], CANCEL)
            if all(task.done() for task in (*self._working, leading)):
                await self._release()
            raise
        finally:
            # First: a worker that survives its cancellation must not get another key after the Lease is lost.
            self._close_queues()
            log.info("stopped")
            await _cancel([*self._working, *watching, leading, stopping], CANCEL)

    def unready(self) -> list[str]:
        """Return the kinds whose first list is incomplete, each with its namespace and problem."""
        return self.store.unsynced()

    async def _lead(self) -> None:
        """Wait for the first lists and for leadership, start the workers, then renew the Lease."""
        while not self.store.synced:  # noqa: ASYNC110 - many writers, one reader, once
            await asyncio.sleep(_LOOK)
        self._on_sync()
        log.info("synced", watches=len(self._watchers))
        if self.election is not None:
            await self.election.acquire()
        for workers in self.controllers:
            count = workers.controller.workers
            self._working += [asyncio.create_task(workers.work()) for _ in range(count)]
        holding = [asyncio.create_task(self.election.hold())] if self.election is not None else []
        try:
            # Workers end when the queues are closed; the election ends only when the Lease is lost.
            await asyncio.gather(*holding, *self._working)
        finally:
            await _cancel(holding, CANCEL)

    async def _wind_down(self, leading: asyncio.Task[None]) -> None:
        """Let passes finish while the Lease is renewed, cancel the rest, then release the Lease."""
        log.info("stopping", passes=sum(len(w.queue.running_seconds()) for w in self.controllers))
        self._close_queues()
        if self._working:
            done = asyncio.gather(*self._working, return_exceptions=True)
            # `leading` ends before the workers only when the Lease is lost.
            everything: set[asyncio.Future[Any]] = {done, leading}
            await asyncio.wait(everything, timeout=self._finish, return_when=asyncio.FIRST_COMPLETED)
            late = [task for task in self._working if not task.done()]
            if late:
                log.warning("reconciliations cancelled", count=len(late))
            await _cancel(late, CANCEL)
        await _cancel([leading], CANCEL)
        await self.context.events.close(TELL)
        await self._release()

    async def _release(self) -> None:
        if self.election is None:
            return
        try:
            async with asyncio.timeout(RELEASE):
                await self.election.release()
        except TimeoutError:
            log.warning("lease not released", error=f"no response within {RELEASE:g} s")

    def _close_queues(self) -> None:
        for workers in self.controllers:
            workers.queue.close()

    def _open_watches(self) -> Iterable[Watcher]:
        """Open one watcher per kind, selector and namespace, shared by all controllers."""
        routes: dict[tuple[Kind, str], list[Route]] = {}
        for workers in self.controllers:
            for watch in workers.controller.all_watches():
                routes.setdefault((watch.kind, watch.selector), []).append(Route(watch, workers.queue))
        for (kind, selector), shared in routes.items():
            trims: set[Trim | None] = {route.watch.trim for route in shared}
            trim = trims.pop() if len(trims) == 1 else None
            for namespace in self.context.settings.namespaces or (None,):
                shard = self.store.open(kind, namespace, trim)
                yield Watcher(self.context.client, shard, _fan_out(shared), selector=selector)


def _fan_out(routes: Sequence[Route]) -> Callable[[Event], None]:
    def deliver(event: Event) -> None:
        for route in routes:
            route.offer(event)

    return deliver


async def _cancel(tasks: Sequence[asyncio.Task[Any]], limit: float) -> None:
    """Cancel tasks and wait up to `limit` seconds; any task that still runs ends with the process."""
    left = [task for task in tasks if not task.done()]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=limit)
