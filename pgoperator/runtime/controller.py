"""Workers that take keys and run passes; one key's trouble never stops another's work."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import blake2s
from uuid import uuid4

import structlog

from pgoperator import metrics
from pgoperator.context import Context
from pgoperator.errors import OperatorError, TerminalError
from pgoperator.kube.errors import ApiError, Conflict, Unreachable
from pgoperator.kube.kinds import PG_CLUSTER
from pgoperator.kube.manifest import Key, Kind
from pgoperator.runtime.queue import CAP, WorkQueue
from pgoperator.runtime.result import Done, Result, Wait
from pgoperator.runtime.source import Watch, itself

DEADLINE = 120.0  # seconds for one pass
OUTAGE_CAP = 10.0  # seconds between tries while the API server does not answer: it returns for all at once

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Controller:
    """Reconciles objects of `kind`.

    `watches` wake it; a watch of `kind` itself is added unless there is one. `resync`: seconds between passes
    of an object that nothing happens to, spread over that time by the key.
    """

    name: str
    kind: Kind
    reconcile: Callable[[Context, Key], Awaitable[Result]]
    watches: tuple[Watch, ...] = ()
    workers: int = 10
    resync: float = 600

    def all_watches(self) -> tuple[Watch, ...]:
        """Return the watches with that of the controller's own kind."""
        if any(watch.kind == self.kind for watch in self.watches):
            return self.watches
        return (Watch(self.kind, itself), *self.watches)


class Workers:
    """The running side of a Controller."""

    def __init__(
        self,
        controller: Controller,
        context: Context,
        queue: WorkQueue,
        *,
        deadline: float = DEADLINE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`deadline`: seconds for one pass; `clock`: monotonic seconds, the queue's."""
        self.controller = controller
        self.queue = queue
        self._context = context
        self._deadline = deadline
        self._clock = clock
        name = controller.name
        metrics.start_controller(name, controller.workers, queue)
        self._active = metrics.ACTIVE_WORKERS.labels(name)
        self._seconds = metrics.RECONCILE_SECONDS.labels(name)

    async def work(self) -> None:
        """Take keys until the queue is closed: one of the controller's N workers."""
        while (key := await self.queue.get()) is not None:
            self._active.inc()
            try:
                await self.one_pass(key)
            finally:
                self._active.dec()
                self.queue.done(key)

    async def one_pass(self, key: Key) -> None:
        """Run one pass and decide when the key comes back; raises nothing but cancellation."""
        who = "cluster" if key.kind == PG_CLUSTER.kind else "name"
        bound = {"controller": self.controller.name, "namespace": key.namespace, who: key.name}
        with structlog.contextvars.bound_contextvars(**bound, reconcile_id=uuid4().hex[:12]):
            begin = self._clock()
            try:
                async with asyncio.timeout(self._deadline) as limit:
                    result = await self.controller.reconcile(self._context, key)
            except TimeoutError as error:
                if limit.expired():
                    self._timed_out(key)
                else:
                    self._failed(key, error)
            except Exception as error:  # noqa: BLE001 - one object's trouble must not end the worker
                self._failed(key, error)
            else:
                self._succeeded(key, result)
            finally:
                self._seconds.observe(self._clock() - begin)

    def _succeeded(self, key: Key, result: Result) -> None:
        self.queue.forget(key)
        # No resync of what is gone: its next event brings it back.
        exists = self._context.store.get(self.controller.kind, key.namespace, key.name) is not None
        if exists:
            self.queue.add(key, after=self._until_resync(key), low=True)
        match result:
            case Wait(reason, seconds):
                self._count("requeue_after")
                log.debug("waiting", reason=reason, seconds=seconds)
                self.queue.add(key, after=seconds)
            case Done():
                self._count("success")

    def _failed(self, key: Key, error: Exception) -> None:
        """Count, log once, retry unless that is useless."""
        self._count("error")
        metrics.RECONCILE_ERRORS.labels(self.controller.name).inc()
        facts = {"error": str(error), "type": type(error).__name__}
        if isinstance(error, TerminalError):
            metrics.TERMINAL_ERRORS.labels(self.controller.name).inc()
            self.queue.forget(key)
            # What made it impossible may be outside the object; the slow resync notices when it is mended.
            self.queue.add(key, after=self._until_resync(key), low=True)
            log.error("pass failed for good", **facts)
            return
        if isinstance(error, ApiError) and error.retry_after:
            self.queue.add(key, after=error.retry_after)
            log.warning("server asked to wait", seconds=error.retry_after, **facts)
            return
        delay = self.queue.retry(key, cap=OUTAGE_CAP if isinstance(error, Unreachable) else CAP)
        facts["retry_seconds"] = f"{delay:.3f}"
        if isinstance(error, Conflict):
            log.info("object changed meanwhile", **facts)
        elif isinstance(error, OperatorError):
            log.error("pass failed", **facts)
        else:
            metrics.RECONCILE_PANICS.labels(self.controller.name).inc()
            log.error("pass failed unexpectedly", exc_info=error, **facts)

    def _timed_out(self, key: Key) -> None:
        self._count("error")
        metrics.RECONCILE_ERRORS.labels(self.controller.name).inc()
        metrics.RECONCILE_TIMEOUTS.labels(self.controller.name).inc()
        delay = self.queue.retry(key)
        log.error("pass cancelled at its deadline", seconds=self._deadline, retry_seconds=f"{delay:.3f}")

    def _until_resync(self, key: Key) -> float:
        """Return the seconds until the key's next turn: its own moment in each period of `resync` seconds."""
        period = self.controller.resync
        phase = int.from_bytes(blake2s(str(key).encode(), digest_size=4).digest()) / 2**32 * period
        wait = (phase - self._clock()) % period
        # Just had a pass; a turn that comes at once would be a second one.
        return wait if wait > period / 10 else wait + period

    def _count(self, result: str) -> None:
        metrics.RECONCILES.labels(self.controller.name, result).inc()
