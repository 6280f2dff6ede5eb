"""Workers that take keys and reconcile them; a failure of one key never affects other keys.

A pass is one call of `reconcile` for one key.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2s
from uuid import uuid4

import structlog

from pgoperator import metrics
from pgoperator.context import Context
from pgoperator.errors import OperatorError, TerminalError
from pgoperator.kube.errors import ApiError, Conflict, ServerError, Unreachable
from pgoperator.kube.kinds import PG_CLUSTER
from pgoperator.kube.manifest import Key, Kind
from pgoperator.runtime.queue import CAP, WorkQueue
from pgoperator.runtime.result import Done, Result, Wait
from pgoperator.runtime.source import Watch, itself

DEADLINE = 120.0  # seconds for one pass
WORKERS = 32  # as many as requests can be in flight; a waiting worker costs some KiB
OUTAGE_CAP = 10.0  # seconds; maximum backoff during an outage of the API server, which affects all keys
_OUTAGE = (Unreachable, ServerError)  # an API server without its etcd answers with 5xx

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Controller:
    """Reconciles objects of `kind`.

    `watches` trigger it; a watch of `kind` itself is added unless one is listed. `resync`: seconds between
    passes of an object without events; a hash of the key spreads them over this period.
    """

    name: str
    kind: Kind
    reconcile: Callable[[Context, Key], Awaitable[Result]]
    watches: tuple[Watch, ...] = ()
    workers: int = WORKERS
    resync: float = 600

    def all_watches(self) -> tuple[Watch, ...]:
        """Return the watches, including the one of the controller's own kind."""
        if any(watch.kind == self.kind for watch in self.watches):
            return self.watches
        return (Watch(self.kind, itself), *self.watches)


class Workers:
    """The workers of one Controller at run time."""

    def __init__(
        self,
        controller: Controller,
        context: Context,
        queue: WorkQueue,
        *,
        deadline: float = DEADLINE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`deadline`: seconds for one pass; `clock`: monotonic seconds, the same clock as the queue's."""
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
        """Process keys until the queue is closed; one worker runs this."""
        while (key := await self.queue.get()) is not None:
            self._active.inc()
            try:
                await self.one_pass(key)
            except Exception:
                # Even the report of a failure can fail; a worker that ends would end the process.
                self.queue.retry(key)
                with suppress(Exception):
                    log.exception("failure not handled", controller=self.controller.name, key=str(key))
            finally:
                self._active.dec()
                self.queue.done(key)

    async def one_pass(self, key: Key) -> None:
        """Run one pass and requeue the key; raises only CancelledError."""
        who = "cluster" if key.kind == PG_CLUSTER.kind else "name"
        bound = {"controller": self.controller.name, "namespace": key.namespace, who: key.name}
        with structlog.contextvars.bound_contextvars(**bound, reconcile_id=uuid4().hex[:12]):
            begin = self._clock()
            try:
                async with asyncio.timeout(self._deadline) as limit:
                    result = await self.controller.reconcile(self._context, key)
            except TimeoutError as error:
                _stop_if_cancelled(error)
                if limit.expired():
                    self._timed_out(key)
                else:
                    self._failed(key, error)
            except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001 - a panic of a Rust library is no Exception
                _stop_if_cancelled(error)
                self._failed(key, error)
            else:
                self._succeeded(key, result)
            finally:
                self._seconds.observe(self._clock() - begin)

    def _succeeded(self, key: Key, result: Result) -> None:
        self.queue.forget(key)
        # A deleted object needs no resync: an event of a new object with its name adds the key again.
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

    def _failed(self, key: Key, error: BaseException) -> None:
        """Count and log the failure, and requeue the key with the backoff that fits the error."""
        self._count("error")
        metrics.RECONCILE_ERRORS.labels(self.controller.name).inc()
        facts = {"error": str(error), "type": type(error).__name__}
        if isinstance(error, TerminalError):
            metrics.TERMINAL_ERRORS.labels(self.controller.name).inc()
            self.queue.forget(key)
            # The cause can be outside the object, so the resync still checks it.
            self.queue.add(key, after=self._until_resync(key), low=True)
            log.error("reconciliation failed, no retry until the object changes", **facts)
            return
        if isinstance(error, ApiError) and error.retry_after:
            self.queue.add(key, after=error.retry_after)
            log.warning("API server requested a delay", seconds=error.retry_after, **facts)
            return
        delay = self.queue.retry(key, cap=OUTAGE_CAP if isinstance(error, _OUTAGE) else CAP)
        facts["retry_seconds"] = f"{delay:.3f}"
        if isinstance(error, Conflict):
            log.info("reconciliation conflict", **facts)
        elif isinstance(error, OperatorError):
            log.error("reconciliation failed", **facts)
        else:
            metrics.RECONCILE_PANICS.labels(self.controller.name).inc()
            log.error("reconciliation failed unexpectedly", exc_info=error, **facts)

    def _timed_out(self, key: Key) -> None:
        self._count("error")
        metrics.RECONCILE_ERRORS.labels(self.controller.name).inc()
        metrics.RECONCILE_TIMEOUTS.labels(self.controller.name).inc()
        delay = self.queue.retry(key)
        log.error("reconciliation timed out", seconds=self._deadline, retry_seconds=f"{delay:.3f}")

    def _until_resync(self, key: Key) -> float:
        """Return the seconds until the key's next resync, a fixed moment in each period of `resync` s."""
        period = self.controller.resync
        phase = int.from_bytes(blake2s(str(key).encode(), digest_size=4).digest()) / 2**32 * period
        wait = (phase - self._clock()) % period
        # A pass has just ended: skip a resync that would follow immediately.
        return wait if wait > period / 10 else wait + period

    def _count(self, result: str) -> None:
        metrics.RECONCILES.labels(self.controller.name, result).inc()


def _stop_if_cancelled(error: BaseException) -> None:
    """Raise CancelledError when the pass was cancelled and an error during its end has replaced that."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        log.info("reconciliation cancelled", error=str(error), type=type(error).__name__)
        raise asyncio.CancelledError from error
