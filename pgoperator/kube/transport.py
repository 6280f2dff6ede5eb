"""HTTP requests to the API server: one session, a concurrency limit, retries and metrics."""

import asyncio
import random
import time
from asyncio import sslproto
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import aiohttp
import orjson
from yarl import URL

from pgoperator import __version__, limits, metrics
from pgoperator.kube.access import Access, NoAccess
from pgoperator.kube.errors import SERVER_ERRORS, ApiError, NotConnected, Silent, Unreachable, from_status

CONCURRENCY = 32  # requests in flight; API priority and fairness of the server limits their rate
TIMEOUT = 30.0  # seconds for one response
MESSAGE = 4 * 1024 * 1024  # bytes of one message of a websocket; kubelet sends 32 KiB
ATTEMPTS = 5
GOODBYE = 1.0  # seconds; how long a websocket that is not needed any more waits for the server to close it
PATIENCE = 10.0  # seconds of waiting over all attempts; for a longer Retry-After the caller must wait

TLS_BUFFER = 32 * 1024
"""Bytes of the read buffer of a TLS connection. With asyncio's 256 KiB, a connection needs 300 KiB of memory,
and each watch of each namespace has its own."""

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
    """A session with the API server; create it in the running event loop."""

    def __init__(self, access: Access, *, timeout: float = TIMEOUT, sleep: Sleep = asyncio.sleep) -> None:
        """`timeout`: seconds for one attempt; `sleep`: waits between attempts, replaced by tests."""
        # There is no public setting; a test checks that this one has an effect.
        sslproto.SSLProtocol.max_size = TLS_BUFFER
        self._access = access
        self._sleep = sleep
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._route: dict[str, Any] = {"server_hostname": access.server_name, "proxy": access.proxy}
        self.host = URL(access.server).authority
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=access.tls or True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout, connect=min(timeout, 10.0)),
            headers={"User-Agent": f"pgoperator/{__version__}", "Accept-Encoding": "identity"},
        )

    def lane(self) -> "Transport":
        """Return a transport with the same session that does not wait for the requests of this one."""
        lane = copy(self)
        lane._slots = asyncio.Semaphore(1)  # noqa: SLF001 - a copy of this object
        return lane

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def json(self, request: Request) -> Any:
        """Return the parsed response; ApiError when it is not 2xx, Unreachable without a response.

        Temporary failures are retried within PATIENCE: always when the server cannot have processed the
        request (429, no connection), otherwise only if it is idempotent.
        """
        waited = 0.0
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._once(request)
            except ApiError as error:
                delay = _delay(error, attempt, request)
                if delay is None or attempt == ATTEMPTS or waited + delay > PATIENCE:
                    raise
                metrics.REQUEST_RETRIES.labels(str(error.status or "<error>"), request.verb, self.host).inc()
                waited += delay
                await self._sleep(delay)
        raise AssertionError

    async def _once(self, request: Request) -> Any:
        begin = time.perf_counter()
        async with self._slots:
            metrics.RATE_LIMITER_SECONDS.labels(request.verb, self.host).observe(time.perf_counter() - begin)
            async with self._answer(request) as response:
                raw = await response.read()
                if response.status >= _ERRORS:
                    raise _refusal(response, raw, request.target)
                return parse(raw, request.target) if raw else {}

    async def lines(self, request: Request, *, silence: float) -> AsyncIterator[bytes]:
        """Yield the lines of a watch; Unreachable on a lost connection.

        Silent after `silence` seconds without data.
        """
        async with self._answer(request, silence=silence) as response:
            if response.status >= _ERRORS:
                raise _refusal(response, await response.read(), request.target)
            rest = b""
            try:
                async for chunk in response.content.iter_any():
                    *complete, rest = (rest + chunk).split(b"\n")
                    for line in complete:
                        if line:
                            yield line
            except aiohttp.SocketTimeoutError:
                raise Silent(f"no data for {silence:g} s", *request.target) from None
            finally:
                # A graceful TLS shutdown would wait for a close_notify that a dead connection never sends.
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
        async with await self._connect(url, protocols, target) as socket:
            yield socket

    async def _connect(
        self, url: URL, protocols: tuple[str, ...], target: tuple[str, str, str]
    ) -> aiohttp.ClientWebSocketResponse:
        """Connect, after a 401 again with a new token."""
        for refresh in (False, True):
            headers = await self._headers(target, refresh=refresh)
            with _no_response(target, lambda: self._count("<error>", "GET")):
                try:
                    socket: aiohttp.ClientWebSocketResponse = await self._session.ws_connect(
                        url,
                        protocols=protocols,
                        headers=headers,
                        max_msg_size=MESSAGE,
                        autoclose=True,
                        timeout=aiohttp.ClientWSTimeout(ws_close=GOODBYE),
                        **self._route,
                    )
                except aiohttp.WSServerHandshakeError as error:
                    self._count(str(error.status), "GET")
                    if error.status < _ERRORS:
                        raise Unreachable(f"no websocket: {error.message}", *target) from None
                    if error.status == _UNAUTHORIZED and not refresh:
                        continue
                    raise _refused_handshake(error, target) from None
            self._count("101", "GET")
            return socket
        raise AssertionError

    @asynccontextmanager
    async def _answer(
        self, request: Request, *, silence: float | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send once, after a 401 again with a new token; return the response with any status."""
        options = dict(self._route)
        if silence is not None:
            options["timeout"] = aiohttp.ClientTimeout(total=None, connect=10, sock_read=silence)
        headers = {"Accept": request.accept}
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        url = URL(self._access.server + request.path, encoded=True).with_query(request.params)
        for refresh in (False, True):
            headers |= await self._headers(request.target, refresh=refresh)
            begin = time.perf_counter()
            with _no_response(request.target, lambda: self._count("<error>", request.method)):
                async with self._session.request(
                    request.method, url, data=request.body, headers=headers, allow_redirects=False, **options
                ) as response:
                    seconds = time.perf_counter() - begin
                    metrics.REQUEST_SECONDS.labels(request.verb, self.host).observe(seconds)
                    self._count(str(response.status), request.method)
                    if response.status != _UNAUTHORIZED or refresh:
                        yield response
                        return
                    await response.read()

    def _count(self, code: str, method: str) -> None:
        metrics.REQUESTS.labels(code, method, self.host).inc()

    async def _headers(self, target: tuple[str, str, str], *, refresh: bool) -> dict[str, str]:
        """Return the header with the credentials; Unreachable when they cannot be read now."""
        try:
            token = await self._access.token(refresh)
        except (NoAccess, OSError, ValueError) as error:
            unreachable = Unreachable(f"no credentials: {error}", *target)
            unreachable.retry_after = 0.0  # nothing was sent, so any request can be retried
            raise unreachable from error
        return {"Authorization": token} if token else {}


@contextmanager
def _no_response(target: tuple[str, str, str], count: Callable[[], None]) -> Iterator[None]:
    """Convert every connection failure to Unreachable; `count` is called for each."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        count()
        unreachable = Unreachable(f"no response: {error or type(error).__name__}", *target)
        # Nothing was sent, so any request can be retried.
        if isinstance(error, aiohttp.ClientConnectorError):
            unreachable.retry_after = 0.0
        raise unreachable from error


def parse(raw: bytes, target: tuple[str, str, str]) -> Any:
    """Parse a JSON response; Unreachable when it is not JSON, for example from a proxy.

    The server stores deeper objects than orjson reads: their deepest parts are omitted.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        try:
            return orjson.loads(limits.shallow(raw))
        except orjson.JSONDecodeError as error:
            raise Unreachable(f"the response is not JSON: {error}", *target) from None


def _refusal(response: aiohttp.ClientResponse, raw: bytes, target: tuple[str, str, str]) -> ApiError:
    """Return the error for a response with status 4xx or 5xx."""
    try:
        status = orjson.loads(raw)
        reason, message = str(status.get("reason") or ""), str(status.get("message") or "")
    except (ValueError, AttributeError):
        reason, message = "", raw[:200].decode("utf-8", "replace").strip()
    return from_status(
        response.status,
        reason,
        message or response.reason or f"status {response.status}",
        target=target,
        retry_after=_retry_after(response.headers),
    )


def _refused_handshake(error: aiohttp.WSServerHandshakeError, target: tuple[str, str, str]) -> ApiError:
    """Return the error for a refused websocket; aiohttp drops the body, which has the server's message."""
    try:
        phrase = HTTPStatus(error.status).phrase
    except ValueError:
        phrase = "unknown status"
    message = f"the server refused to open a websocket: {error.status} {phrase}"
    after = _retry_after(error.headers or {})
    if error.status >= SERVER_ERRORS:
        refusal: ApiError = NotConnected(error.status, "", message, *target)
        refusal.retry_after = after
        return refusal
    return from_status(error.status, "", message, target=target, retry_after=after)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    after = headers.get("Retry-After", "")
    return float(after) if after.isdecimal() else None


def _delay(error: ApiError, attempt: int, request: Request) -> float | None:
    """Return the seconds to wait before the next attempt, None when the request must not be retried."""
    untouched = error.status == _THROTTLED or (error.status == 0 and error.retry_after is not None)
    if not (request.idempotent or untouched):
        return None
    passing = error.status in _PASSING or error.status == 0
    if not passing and error.retry_after is None:
        return None
    jittered = 0.05 * 2.0**attempt * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, not a secret
    # Later than Retry-After asks: requests that the server refused together must not return together.
    return (error.retry_after or 0.0) * random.uniform(1, 1.25) + jittered  # noqa: S311
