"""Leader election by a Lease: of several operators, one acts.

The rules are client-go's: a holder is believed for `duration` seconds since *we* saw the Lease change (clocks
of machines are never compared); the holder renews each `retry_period` and gives up after `renew_deadline`,
before anybody else may take over. Every write carries the resourceVersion of the Lease as it was last seen:
the holder renews with one request, and reads only when somebody else has written.
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
    """Another process may act now; this one must end."""


def _now() -> datetime:
    return datetime.now(UTC)


class Election:
    """One candidate; `identity` must be unique among the processes."""

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
        """`clock`: monotonic seconds, decides; `wall`: for people who read the Lease."""
        self._client = client
        self._namespace = namespace
        self._settings = settings
        self._identity = identity
        self._clock = clock
        self._wall = wall
        self._sleep = sleep
        self._seen: tuple[object, ...] = ()  # what the Lease said when it last changed …
        self._seen_at = float("-inf")  # … and when that was
        self._own: Manifest | None = None  # the Lease as our own last write left it
        self._status = metrics.LEADER.labels(settings.name)
        self._status.set(0)

    async def acquire(self) -> None:
        """Wait until this process is the leader. Errors of the server are logged and tried again."""
        while not await self._try():
            await self._sleep(self._settings.retry_period * random.uniform(1, 1.2))  # noqa: S311
        self._status.set(1)
        log.info("leading", lease=self._settings.name, identity=self._identity)

    async def hold(self) -> None:
        """Renew for ever; LeaseLost when that has failed for renew_deadline seconds, or another took it."""
        renewed = self._clock()
        while True:
            await self._sleep(self._settings.retry_period)
            left = self._settings.renew_deadline - (self._clock() - renewed)
            begin = self._clock()
            try:
                async with asyncio.timeout(max(left, 0.01)):
                    held = await self._try()
            except TimeoutError:
                held = False
            if held:
                renewed = begin
                continue
            metrics.LEADER_SLOWPATH.labels(self._settings.name).inc()
            if self._taken() or self._clock() - renewed >= self._settings.renew_deadline:
                self._status.set(0)
                raise LeaseLost(f"lease {self._namespace}/{self._settings.name} was lost")

    async def release(self) -> None:
        """Let another process lead at once; failing to is harmless, it only waits for the Lease to expire."""
        self._status.set(0)
        try:
            lease = await self._client.get(LEASE, self._namespace, self._settings.name)
            if _holder(lease) == self._identity:
                await self._write(lease, {"holderIdentity": "", "leaseDurationSeconds": 1})
                log.info("lease released", lease=self._settings.name)
        except ApiError as error:
            log.warning("lease not released", lease=self._settings.name, error=str(error))

    async def _try(self) -> bool:
        """Create, take or renew the Lease if that is allowed; whether it is ours now."""
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
        """Write over the Lease as it was seen; whether nobody else has written since."""
        spec = self._spec()
        if _holder(lease) != self._identity:
            spec["acquireTime"] = spec["renewTime"]
            spec["leaseTransitions"] = (lease["spec"].get("leaseTransitions") or 0) + 1
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
        said = (_holder(lease), spec.get("renewTime"), spec.get("leaseDurationSeconds"))
        if said != self._seen:
            self._seen, self._seen_at = said, self._clock()

    def _taken(self) -> bool:
        """Tell whether another process leads, as far as we have seen."""
        if not self._seen:
            return False
        holder, _, seconds = self._seen
        duration = max(float(str(seconds or 0)), self._settings.duration)
        return bool(holder) and holder != self._identity and self._clock() - self._seen_at < duration


def _holder(lease: Manifest) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")
