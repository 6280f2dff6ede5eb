"""An HTTP server with scripted responses that a real API server does not give on demand."""

import asyncio
import json
from typing import Any

from aiohttp import web

from pgoperator.kube.access import Access


class StubApi:
    """Serves one collection: lists from `items`, watches from `watches`; then keeps connections open."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.version = "10"
        self.refusal = 0  # status of every response, if set
        self.watches: list[
            list[Any]
        ] = []  # one per connection; an int instead of an event ends with that status
        self.requests: list[dict[str, str]] = []  # the query of each
        self._runner: web.AppRunner | None = None
        self._hold = asyncio.Event()

    async def start(self) -> Access:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()

        async def token(refresh: bool) -> str:
            return ""

        return Access(f"http://127.0.0.1:{self._runner.addresses[0][1]}", None, token)

    async def stop(self) -> None:
        self._hold.set()
        assert self._runner is not None
        await self._runner.cleanup()

    def dumps(self, document: Any) -> str:
        """Return the JSON text that is sent."""
        return json.dumps(document)

    def watched_from(self) -> list[str]:
        """Return the resourceVersion at which each watch began."""
        return [query["resourceVersion"] for query in self.requests if "watch" in query]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(dict(request.query))
        if self.refusal:
            return web.json_response({"code": self.refusal, "message": "scripted"}, status=self.refusal)
        if "watch" not in request.query:
            document = {"items": self.items, "metadata": {"resourceVersion": self.version}}
            return web.json_response(document, dumps=self.dumps)
        events = self.watches.pop(0) if self.watches else []
        if events and isinstance(events[0], int):
            return web.json_response({"code": events[0], "message": "scripted"}, status=events[0])
        response = web.StreamResponse()
        await response.prepare(request)
        for event in events:
            if event is None:
                return response
            # In two parts: a line may arrive in pieces.
            line = self.dumps(event).encode() + b"\n"
            await response.write(line[:7])
            await response.write(line[7:])
        await self._hold.wait()
        return response
