"""Authentication of requests to the metrics port, and the certificate shown to clients."""

import asyncio
import ssl
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import structlog

from pgoperator.errors import OperatorError
from pgoperator.kube import reviews
from pgoperator.kube.client import Client
from pgoperator.kube.errors import ApiError

REMEMBER = 60.0  # seconds for which an admitted token is not reviewed again
OK, UNAUTHORIZED, FORBIDDEN, UNAVAILABLE = 200, 401, 403, 503

log = structlog.get_logger(__name__)


class Guard:
    """Checks bearer tokens with TokenReview and SubjectAccessReview of the API server."""

    def __init__(self, client: Client, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`client` should be a separate lane, so that a scrape does not wait for requests of passes."""
        self._client = client
        self._clock = clock
        self._admitted: dict[bytes, float] = {}
        # One review at a time limits the load that a client with guessed tokens can cause.
        self._asking = asyncio.Lock()

    async def verdict(self, authorization: str, path: str) -> int:
        """Return the HTTP status for a request: 200 when the token may read `path`, else 401, 403 or 503."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return UNAUTHORIZED
        digest = sha256(f"{path} {token}".encode()).digest()
        async with self._asking:
            now = self._clock()
            self._admitted = {known: until for known, until in self._admitted.items() if until > now}
            if digest in self._admitted:
                return OK
            try:
                status = await self._ask(token.strip(), path)
            except ApiError as error:
                log.warning("cannot authenticate a metrics request", error=str(error))
                return UNAVAILABLE
            if status == OK:
                self._admitted[digest] = now + REMEMBER
            return status

    async def _ask(self, token: str, path: str) -> int:
        user = await reviews.user_of(self._client, token)
        if user is None:
            return UNAUTHORIZED
        return OK if await reviews.may_get(self._client, user, path) else FORBIDDEN


class Certificate:
    """`tls.crt` and `tls.key` of a folder; OperatorError when they are not a valid pair at the start.

    The files are checked at each handshake, so a renewed certificate is served without a restart.
    """

    def __init__(self, folder: str) -> None:
        self._files = Path(folder, "tls.crt"), Path(folder, "tls.key")
        try:
            self._state = self._look()
            self._current = self._read()
            self.context = self._read()
        except OSError as error:
            raise OperatorError(f"PGO_METRICS_CERT_DIR={folder}: {error}") from None
        self.context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Serve the current files, or the last valid pair while they are not one."""
        try:
            if (state := self._look()) != self._state:
                self._current, self._state = self._read(), state
        except OSError as error:
            log.warning("cannot read the metrics certificate", error=str(error))
        connection.context = self._current

    def _read(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self._files)
        return context

    def _look(self) -> list[tuple[int, int]]:
        return [(stat.st_mtime_ns, stat.st_ino) for stat in (file.stat() for file in self._files)]
