"""An HTTP proxy in front of the API server that can answer requests itself."""

import aiohttp
from aiohttp import web

from pgoperator.kube.access import Access


class HttpProxy:
    """Forwards requests, except the next ones, which get the responses in `answers`: (status, headers)."""

    def __init__(self, target: Access) -> None:
        self._target = target
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.requests: list[tuple[str, str]] = []  # (method, path)
        self.headers: dict[str, str] = {}  # of the last request
        self.access = target

    async def start(self) -> None:
        tls = self._target.tls
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls or True))
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()

        async def token(refresh: bool) -> str:
            return "Bearer second" if refresh else "Bearer first"

        self.access = Access(f"http://127.0.0.1:{self._runner.addresses[0][1]}", None, token)

    async def stop(self) -> None:
        assert self._runner is not None
        assert self._session is not None
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.path))
        self.headers = dict(request.headers)
        if self.answers:
            status, headers = self.answers.pop(0)
            return web.Response(status=status, headers=headers)
        assert self._session is not None
        async with self._session.request(
            request.method,
            self._target.server + request.path_qs,
            data=await request.read(),
            headers={"Content-Type": request.headers.get("Content-Type", "application/json")},
        ) as answer:
            return web.Response(
                status=answer.status, body=await answer.read(), content_type="application/json"
            )
