"""HTTP for probes and Prometheus.

/healthz: the event loop runs. /readyz: every watch has its first list. Leadership does not count, because a
rollout would then wait for a Lease that the old pod holds. /metrics: the text format of Prometheus; with a
certificate, over TLS and only for clients that the API server authorizes.
"""

import asyncio
import time
from collections.abc import Callable

from aiohttp import web

from pgoperator import metrics
from pgoperator.kube.transport import Sleep
from pgoperator.runtime.guard import OK, Certificate, Guard

BEAT = 1.0  # seconds
LATE = 15.0  # seconds without a beat after which the event loop counts as blocked


class Heart:
    """Records that the event loop runs."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()

    @property
    def alive(self) -> bool:
        """Whether the last beat is less than LATE seconds old."""
        return self._clock() - self._last < LATE

    def beat(self) -> None:
        """Record that the loop runs."""
        self._last = self._clock()

    async def run(self, sleep: Sleep = asyncio.sleep) -> None:
        """Beat until cancelled."""
        while True:
            self.beat()
            await sleep(BEAT)


class Server:
    """The two HTTP listeners; with port 0 the system chooses a free port, see `ports`."""

    def __init__(
        self,
        heart: Heart,
        unready: Callable[[], list[str]],
        secure: tuple[Certificate, Guard] | None = None,
    ) -> None:
        """`unready()`: kinds without a first list; `secure`: certificate and guard of the metrics port."""
        self._heart = heart
        self._unready = unready
        self._secure = secure
        self._runners: list[web.AppRunner] = []
        self.ports: list[int] = []

    async def start(self, metrics_port: int, health_port: int, host: str | None = None) -> None:
        """Listen on all addresses, or on `host`; OSError when a port is in use."""
        health = web.get("/healthz", self._healthz)
        tls = self._secure[0].context if self._secure else None
        for port, routes, context in (
            (metrics_port, [web.get("/metrics", self._metrics), health], tls),
            (health_port, [health, web.get("/readyz", self._readyz)], None),
        ):
            app = web.Application()
            app.add_routes(routes)
            runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1)
            self._runners.append(runner)
            await runner.setup()
            await web.TCPSite(runner, host, port, ssl_context=context).start()
            self.ports.append(int(runner.addresses[0][1]))

    async def stop(self) -> None:
        """Close the listeners."""
        for runner in self._runners:
            await runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return (
            web.Response(text="ok")
            if self._heart.alive
            else web.Response(status=500, text="event loop is blocked")
        )

    async def _readyz(self, _: web.Request) -> web.Response:
        missing = self._unready()
        return (
            web.Response(status=503, text=f"waiting for the first list of: {', '.join(missing)}")
            if missing
            else web.Response(text="ok")
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        if self._secure:
            _, guard = self._secure
            status = await guard.verdict(request.headers.get("Authorization", ""), request.path)
            if status != OK:
                return web.Response(status=status)
        return web.Response(
            body=metrics.exposition(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )
