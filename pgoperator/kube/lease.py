"""Leader election with a Lease: only one of several operator processes is active.

The rules are those of client-go. A lease is valid for `duration` seconds after this process saw it change;
clocks of machines are never compared. The holder renews every `retry_period` and gives up after
`renew_deadline`, before another process can take over. Every write contains the resourceVersion that was last
seen, so a renewal is one request, and a read is needed only after a write by another process.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from pgoperator import metrics
from pgoperator.errors import OperatorError
from pgoperator.kube.client import Client
from pgoperator.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from pgoperator.kube.kinds import LEASE
from pgoperator.kube.manifest import Manifest
from pgoperator.kube.transport import Sleep
from pgoperator.settings import LeaseSettings

log = structlog.get_logger(__name__)


class LeaseLost(OperatorError):  # noqa: N818 - the name states the fact
    """Another process can become the leader now; this process must exit."""


def _now() -> datetime:
    return datetime.now(UTC)


class Election:
    """One candidate; `identity` must be unique among all processes."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        settings: LeaseSettings,
        identity: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = _now,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`clock`: monotonic seconds, for all decisions; `wall`: for the times in the Lease."""
        self._client = client
        self._namespace = namespace
        self._settings = settings
        self._identity = identity
        self._clock = clock
        self._wall = wall
        self._sleep = sleep
        self._seen: tuple[object, ...] = ()  # holder, renewTime and duration at the last change …
        self._seen_at = float("-inf")  # … and when that was
        self._own: Manifest | None = None  # the Lease after the last own write
        self._renewed = float("-inf")  # when the last successful write began
        self._status = metrics.LEADER.labels(settings.name)
        self._status.set(0)

    async def acquire(self) -> None:
        """Wait until this process is the leader; errors of the server are logged and retried."""
        while not await self._try_within(self._settings.renew_deadline):
            await self._sleep(self._settings.retry_period * random.uniform(1, 1.2))  # noqa: S311
        self._status.set(1)
        log.info("became leader", lease=self._settings.name, identity=self._identity)

    async def hold(self) -> None:
        """Renew indefinitely; LeaseLost after renew_deadline seconds of failures or when another holds it."""
        # An acquisition with a late response is renewed at once.
        wait = max(self._settings.retry_period - (self._clock() - self._renewed), 0.0)
        while True:
            await self._sleep(wait)
            wait = self._settings.retry_period
            left = self._settings.renew_deadline - (self._clock() - self._renewed)
            if await self._try_within(max(left, 0.01)):
                continue
            metrics.LEADER_SLOWPATH.labels(self._settings.name).inc()
            if self._taken() or self._clock() - self._renewed >= self._settings.renew_deadline:
                self._status.set(0)
                raise LeaseLost(f"lease {self._namespace}/{self._settings.name} was lost")

    async def release(self) -> None:
        """Release the Lease, so that another process can lead at once; if that fails, the Lease expires."""
        self._status.set(0)
        try:
            lease = await self._client.get(LEASE, self._namespace, self._settings.name)
            if _holder(lease) == self._identity:
                await self._write(lease, {"holderIdentity": "", "leaseDurationSeconds": 1})
                log.info("lease released", lease=self._settings.name)
        except ApiError as error:
            log.warning("lease not released", lease=self._settings.name, error=str(error))

    async def _try_within(self, limit: float) -> bool:
        """Try for at most `limit` seconds.

        A success counts from the begin of the attempt: the server may have written long before its response
        arrives, and other processes count from then.
        """
        begin = self._clock()
        try:
            async with asyncio.timeout(limit):
                held = await self._try()
        except TimeoutError:
            log.warning(
                "lease not renewed", lease=self._settings.name, error=f"no response within {limit:.2g} s"
            )
            return False
        if held:
            self._renewed = begin
        return held

    async def _try(self) -> bool:
        """Create, acquire or renew the Lease if allowed; return whether this process holds it."""
        try:
            if self._own is not None and await self._renew(self._own):
                return True
            lease = await self._client.get(LEASE, self._namespace, self._settings.name)
            self._observe(lease)
            return not self._taken() and await self._renew(lease)
        except NotFound:
            return await self._create()
        except ApiError as error:
            log.warning("lease not renewed", lease=self._settings.name, error=str(error))
            return False

    async def _renew(self, lease: Manifest) -> bool:
        """Update the Lease as it was read; return False when another process has written since."""
        spec = self._spec()
        if _holder(lease) != self._identity:
            spec["acquireTime"] = spec["renewTime"]
            spec["leaseTransitions"] = ((lease.get("spec") or {}).get("leaseTransitions") or 0) + 1
        self._own = None
        try:
            written = await self._write(lease, spec)
        except Conflict:
            return False
        self._observe(written)
        self._own = written
        return True

    async def _create(self) -> bool:
        spec = self._spec()
        spec |= {"acquireTime": spec["renewTime"], "leaseTransitions": 0}
        manifest: Manifest = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"name": self._settings.name, "namespace": self._namespace},
            "spec": spec,
        }
        try:
            self._own = await self._client.create(manifest)
            self._observe(self._own)
        except AlreadyExists:
            return False
        except ApiError as error:
            log.warning("lease not created", lease=self._settings.name, error=str(error))
            return False
        return True

    async def _write(self, lease: Manifest, spec: Manifest) -> Manifest:
        patch = {"metadata": {"resourceVersion": lease["metadata"]["resourceVersion"]}, "spec": spec}
        return await self._client.merge_patch(LEASE, self._namespace, self._settings.name, patch)

    def _spec(self) -> Manifest:
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": math.ceil(self._settings.duration),
            "renewTime": self._wall().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }

    def _observe(self, lease: Manifest) -> None:
        spec = lease.get("spec") or {}
        observed = (_holder(lease), spec.get("renewTime"), spec.get("leaseDurationSeconds"))
        if observed != self._seen:
            self._seen, self._seen_at = observed, self._clock()

    def _taken(self) -> bool:
        """Return whether, by the last observation, another process holds a valid lease."""
        if not self._seen:
            return False
        holder, _, seconds = self._seen
        duration = max(float(str(seconds or 0)), self._settings.duration)
        return bool(holder) and holder != self._identity and self._clock() - self._seen_at < duration


def _holder(lease: Manifest) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")
