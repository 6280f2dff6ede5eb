"""HTTP to the API server: one session, a limit of requests in flight, retries, metrics. Knows no kind."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from yarl import URL

from pgoperator import __version__, metrics
from pgoperator.kube.access import Access
from pgoperator.kube.errors import ApiError, Unreachable, from_status

CONCURRENCY = 32  # requests in flight; the server's own priority and fairness decides how fast they go
TIMEOUT = 30.0  # seconds for one answer
ATTEMPTS = 5
PATIENCE = 10.0  # seconds of waiting over all attempts; a longer Retry-After is the caller's to wait for

_ERRORS = 400
_UNAUTHORIZED = 401
_THROTTLED = 429
_PASSING = frozenset({429, 502, 503, 504})
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `target` is (kind, namespace, name) for messages."""

    method: str
    path: str
    verb: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"
    target: tuple[str, str, str] = ("", "", "")
    idempotent: bool = True
    accept: str = "application/json"


class Transport:
    """A session with the API server; made inside of the running loop."""

    def __init__(self, access: Access, *, timeout: float = TIMEOUT, sleep: Sleep = asyncio.sleep) -> None:
        """`timeout`: seconds for one attempt; `sleep` waits between attempts."""
        self._access = access
        self._sleep = sleep
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self.host = URL(access.server).authority
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=access.tls or True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout, connect=min(timeout, 10.0)),
            headers={"User-Agent": f"pgoperator/{__version__}", "Accept-Encoding": "identity"},
        )

    def lane(self) -> "Transport":
        """Return a transport over the same session that does not wait for the requests of this one."""
        lane = copy(self)
        lane._slots = asyncio.Semaphore(1)  # noqa: SLF001 - a copy of ourselves
        return lane

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def json(self, request: Request) -> Any:
        """Return the parsed answer; ApiError when it is not 2xx, Unreachable when none came.

        Passing failures are retried within PATIENCE: always when the request cannot have been carried out
        (429, no connection), otherwise only if it is idempotent.
        """
        waited = 0.0
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._once(request, refresh=False)
            except ApiError as error:
                delay = _delay(error, attempt, request)
                if delay is None or attempt == ATTEMPTS or waited + delay > PATIENCE:
                    raise
                metrics.REQUEST_RETRIES.labels(str(error.status or "<error>"), request.verb, self.host).inc()
                waited += delay
                await self._sleep(delay)
        raise AssertionError

    async def _once(self, request: Request, *, refresh: bool) -> Any:
        begin = time.perf_counter()
        async with self._slots:
            metrics.RATE_LIMITER_SECONDS.labels(request.verb, self.host).observe(time.perf_counter() - begin)
            async with self._answer(request, refresh=refresh) as response:
                raw = await response.read()
                if response.status < _ERRORS:
                    return parse(raw, request.target) if raw else {}
                if response.status != _UNAUTHORIZED or refresh:
                    raise _refusal(response, raw, request.target)
        return await self._once(request, refresh=True)

    async def lines(self, request: Request, *, silence: float) -> AsyncIterator[bytes]:
        """Yield the lines of a watch; Unreachable after `silence` seconds without one, or when it is cut."""
        async with self._answer(request, refresh=False, silence=silence) as response:
            if response.status >= _ERRORS:
                raise _refusal(response, await response.read(), request.target)
            rest = b""
            try:
                async for chunk in response.content.iter_any():
                    *complete, rest = (rest + chunk).split(b"\n")
                    for line in complete:
                        if line:
                            yield line
            finally:
                # Left in the middle, TLS would wait for a goodbye that a dead connection never gives.
                if response.connection is not None and response.connection.transport is not None:
                    response.connection.transport.abort()

    @asynccontextmanager
    async def websocket(
        self,
        path: str,
        params: list[tuple[str, str]],
        protocols: tuple[str, ...],
        target: tuple[str, str, str],
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open a websocket that speaks one of `protocols`; ApiError when the server refuses."""
        url = URL(self._access.server + path, encoded=True).with_query(params)
        headers = await self._headers(refresh=False)
        with _no_answer(target):
            try:
                socket = await self._session.ws_connect(
                    url, protocols=protocols, headers=headers, max_msg_size=0, autoclose=True
                )
            except aiohttp.WSServerHandshakeError as error:
                metrics.REQUESTS.labels(str(error.status), "GET", self.host).inc()
                raise from_status(error.status, error.message, error.message, target=target) from None
        metrics.REQUESTS.labels("101", "GET", self.host).inc()
        async with socket:
            yield socket

    @asynccontextmanager
    async def _answer(
        self, request: Request, *, refresh: bool, silence: float | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send once and give the answer, whatever its status."""
        options: dict[str, Any] = {}
        if silence is not None:
            options["timeout"] = aiohttp.ClientTimeout(total=None, connect=10, sock_read=silence)
        headers = await self._headers(refresh=refresh) | {"Accept": request.accept}
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        url = URL(self._access.server + request.path, encoded=True).with_query(request.params)
        begin = time.perf_counter()
        with _no_answer(request.target, lambda: self._count("<error>", request)):
            async with self._session.request(
                request.method, url, data=request.body, headers=headers, allow_redirects=False, **options
            ) as response:
                metrics.REQUEST_SECONDS.labels(request.verb, self.host).observe(time.perf_counter() - begin)
                self._count(str(response.status), request)
                yield response

    def _count(self, code: str, request: Request) -> None:
        metrics.REQUESTS.labels(code, request.method, self.host).inc()

    async def _headers(self, *, refresh: bool) -> dict[str, str]:
        token = await self._access.token(refresh)
        return {"Authorization": token} if token else {}


class _no_answer:  # noqa: N801 - reads as a statement
    """Turn every way in which a connection fails into Unreachable; `count` is called for each."""

    def __init__(self, target: tuple[str, str, str], count: Callable[[], None] = lambda: None) -> None:
        self._target = target
        self._count = count

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, (aiohttp.ClientError, TimeoutError, OSError)):
            self._count()
            unreachable = Unreachable(f"no answer: {error or type(error).__name__}", *self._target)
            # Nothing was sent, so nothing was done: safe to repeat whatever it was.
            if isinstance(error, aiohttp.ClientConnectorError):
                unreachable.retry_after = 0.0
            raise unreachable from error


def parse(raw: bytes, target: tuple[str, str, str]) -> Any:
    """Return the JSON in `raw`; Unreachable when something between us and the API server answered instead."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Unreachable(f"the answer is not JSON: {error}", *target) from None


def _refusal(response: aiohttp.ClientResponse, raw: bytes, target: tuple[str, str, str]) -> ApiError:
    """Return the error that an answer of 4xx or 5xx stands for."""
    try:
        status = orjson.loads(raw)
        reason, message = str(status.get("reason", "")), str(status.get("message", ""))
    except (ValueError, AttributeError):
        reason, message = response.reason or "", raw[:200].decode("utf-8", "replace").strip()
    after = response.headers.get("Retry-After", "")
    return from_status(
        response.status,
        reason or response.reason or str(response.status),
        message,
        target=target,
        retry_after=float(after) if after.isdecimal() else None,
    )


def _delay(error: ApiError, attempt: int, request: Request) -> float | None:
    """Return the seconds to wait before another attempt, None when there must be none."""
    untouched = error.status == _THROTTLED or (error.status == 0 and error.retry_after is not None)
    if not (request.idempotent or untouched):
        return None
    passing = error.status in _PASSING or error.status == 0
    if not passing and error.retry_after is None:
        return None
    jittered = 0.05 * 2.0**attempt * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, keeps no secret
    return max(error.retry_after or 0.0, jittered)
