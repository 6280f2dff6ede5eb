"""One path for requests, watches and websockets: credentials, refusals and failures."""

import asyncio
import json
import ssl
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
from aiohttp import web

from local.pki import Authority
from pgoperator.kube.access import Access, NoAccess
from pgoperator.kube.client import Client
from pgoperator.kube.errors import (
    ApiError,
    Forbidden,
    Invalid,
    NotConnected,
    NotFound,
    ServerError,
    Throttled,
    Unreachable,
    from_status,
)
from pgoperator.kube.kinds import POD
from pgoperator.kube.manifest import Manifest
from pgoperator.kube.transport import Request, _delay


class Server:
    """Accepts one token and answers with `body`."""

    def __init__(self) -> None:
        self.valid = "Bearer one"
        self.tokens: list[str] = []  # of each request
        self.paths: list[str] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = b'{"metadata": {"name": "p"}}'

    async def handle(self, request: web.Request) -> web.StreamResponse:
        token = request.headers.get("Authorization", "")
        self.tokens.append(token)
        self.paths.append(request.raw_path)
        if token != self.valid:
            return web.json_response({"message": "Unauthorized"}, status=401)
        return web.Response(status=self.status, body=self.body, headers=self.headers)


class Token:
    """A source of tokens that can fail."""

    def __init__(self) -> None:
        self.current = self.next = "Bearer one"
        self.errors: list[Exception] = []

    async def __call__(self, refresh: bool) -> str:
        if self.errors:
            raise self.errors.pop(0)
        if refresh:
            self.current = self.next
        return self.current


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def token() -> Token:
    return Token()


@pytest.fixture
async def client(server: Server, token: Token) -> AsyncIterator[Client]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = Client(Access(f"http://127.0.0.1:{runner.addresses[0][1]}", None, token), timeout=5)
    yield client
    await client.close()
    await runner.cleanup()


async def get(client: Client) -> object:
    return await client.get(POD, "ns", "p")


async def watch(client: Client) -> object:
    watched = client.watch(POD, "ns", labels="", version="1", seconds=5, silence=5)
    return [event async for event in watched]


async def run(client: Client) -> object:
    return await client.exec("ns", "p", "c", ["true"])


async def run_with_input(client: Client) -> object:
    return await client.exec("ns", "p", "c", ["cat"], stdin=b"x")


WAYS = pytest.mark.parametrize("way", [get, watch, run, run_with_input], ids=lambda way: way.__name__)


@WAYS
async def test_a_rejected_token_is_read_again_at_once(
    client: Client, server: Server, token: Token, way: object
) -> None:
    server.valid = token.next = "Bearer two"
    server.body = b""
    server.status = 418  # the end of each way, after the token was accepted
    with pytest.raises(ApiError) as caught:
        await way(client)  # type: ignore[operator]
    assert caught.value.status == 418
    assert server.tokens == ["Bearer one", "Bearer two"]


@WAYS
async def test_a_token_that_stays_rejected_is_forbidden(client: Client, server: Server, way: object) -> None:
    server.valid = "Bearer two"
    with pytest.raises(Forbidden) as caught:
        await way(client)  # type: ignore[operator]
    assert caught.value.status == 401
    assert len(server.tokens) == 2, "a missing permission is not a server without the v5 protocol"


@WAYS
@pytest.mark.parametrize(
    "error",
    [FileNotFoundError("token"), NoAccess("the plugin failed"), UnicodeDecodeError("ascii", b"x", 0, 1, "x")],
    ids=lambda error: type(error).__name__,
)
async def test_credentials_that_cannot_be_read_are_an_outage(
    client: Client, token: Token, way: object, error: Exception
) -> None:
    token.errors = [error] * 5
    with pytest.raises(Unreachable, match="no credentials"):
        await way(client)  # type: ignore[operator]


async def test_credentials_that_can_be_read_again_cost_a_retry(client: Client, token: Token) -> None:
    token.errors = [FileNotFoundError("token")]
    assert await get(client) == {"metadata": {"name": "p"}}


async def test_a_webhook_that_denies_without_a_reason(client: Client, server: Server) -> None:
    server.status, server.body = 400, b'{"message": "denied the request", "reason": ""}'
    with pytest.raises(Invalid, match="denied the request") as caught:
        await get(client)
    assert caught.value.reason == "Invalid"


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b"<html>", b'{"ok": true}'])
async def test_another_program_is_not_an_api_server(client: Client, server: Server, body: bytes) -> None:
    server.body = body
    with pytest.raises(Unreachable):
        await asyncio.wait_for(get(client), 10)
    with pytest.raises(Unreachable):
        await client.list(POD, "ns")
    with pytest.raises(Unreachable):
        await client.create(pod())


def pod() -> Manifest:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "ns"}}


async def test_a_refused_websocket_has_a_reason_and_the_delay(client: Client, server: Server) -> None:
    server.status = 404
    with pytest.raises(NotFound, match="404 Not Found") as missing:
        await run(client)
    assert missing.value.reason == "NotFound"
    server.status = 500
    with pytest.raises(NotConnected) as down:
        await run(client)
    assert not isinstance(down.value, ServerError), "a node that is down is no outage of the API server"
    server.status, server.headers = 429, {"Retry-After": "7"}
    with pytest.raises(Throttled) as throttled:
        await run(client)
    assert throttled.value.retry_after == 7


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../../kube-system/secrets/bar"])
async def test_a_name_that_no_object_can_have_is_not_sent(client: Client, server: Server, name: str) -> None:
    with pytest.raises(NotFound, match="no object can have the name"):
        await client.get(POD, "ns", name)
    with pytest.raises(NotFound):
        await client.merge_patch(POD, "ns", name, {})
    with pytest.raises(NotFound):
        await client.apply(pod() | {"metadata": {"name": name, "namespace": "ns"}})
    await client.delete(POD, "ns", name, uid=None)
    assert server.tokens == []


async def test_a_name_stays_one_part_of_the_path(client: Client, server: Server) -> None:
    await client.get(POD, "ns", "a b?c#d")
    assert server.paths == ["/api/v1/namespaces/ns/pods/a%20b%3Fc%23d"]


async def test_a_tls_connection_needs_little_memory(tmp_path: Path) -> None:
    """The size of asyncio's buffer has no public setting: this fails when ours has no effect any more."""
    authority = Authority(tmp_path)
    authority.create()
    own = authority.issue("server", "127.0.0.1", "", ["IP:127.0.0.1"])
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(own.certificate, own.key)

    async def token(refresh: bool) -> str:
        return ""

    async def hold(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "1"}}}\n')
        await asyncio.sleep(30)
        return response

    trusting = ssl.create_default_context(cafile=str(authority.certificate))
    app = web.Application()
    app.router.add_get("/{path:.*}", hold)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    tracemalloc.start()
    try:
        client = Client(Access("https://127.0.0.1:1", trusting, token))  # sets the size
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=serving).start()
        client.transport._access = Access(f"https://127.0.0.1:{runner.addresses[0][1]}", trusting, token)
        watches = [client.watch(POD, "ns", labels="", version="1", seconds=9, silence=9) for _ in range(21)]
        await anext(watches[0])
        before = tracemalloc.get_traced_memory()[0]
        for watch in watches[1:]:
            await anext(watch)
        connection = (tracemalloc.get_traced_memory()[0] - before) / 20
    finally:
        tracemalloc.stop()
    for watch in watches:
        await watch.aclose()
    await client.close()
    await runner.cleanup()
    # Both sides are in this process.
    assert connection / 2 < 80 * 1024


@pytest.mark.parametrize("after", [1, 5])
def test_refused_requests_do_not_return_together(after: int) -> None:
    error = from_status(429, "", "", retry_after=after)
    delays = [_delay(error, 1, Request("GET", "/", "GET")) or 0 for _ in range(100)]
    assert min(delays) >= after
    assert max(delays) - min(delays) > after / 10


@WAYS
async def test_a_proxy_and_the_server_s_name_are_used(way: object, tmp_path: Path) -> None:
    """A tunnel to a server whose certificate has another name than the URL."""
    authority = Authority(tmp_path)
    authority.create()
    own = authority.issue("server", "server", "", ["DNS:kubernetes.example"])
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(own.certificate, own.key)
    server = Server()
    server.status = 418
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=serving).start()
    tunnels: list[str] = []

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tunnels.append((await reader.readuntil(b"\r\n\r\n")).decode().split()[1])
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)
            target.close()

        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer), return_exceptions=True)

    proxy = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    trusting = ssl.create_default_context(cafile=str(authority.certificate))
    port = proxy.sockets[0].getsockname()[1]
    access = Access(
        "https://far.example:6443", trusting, Token(), "kubernetes.example", f"http://127.0.0.1:{port}"
    )
    client = Client(access, timeout=5)
    with pytest.raises(ApiError) as caught:
        await way(client)  # type: ignore[operator]
    assert caught.value.status == 418
    assert tunnels == ["far.example:6443"]
    await client.close()
    proxy.close()
    await runner.cleanup()


async def test_older_definitions_are_reported_once(client: Client, server: Server) -> None:
    message = '.status.repos[name="repo1"].reachable: field not declared in schema'
    server.status, server.body = 500, json.dumps({"message": message}).encode()
    status = {"repos": [{"name": "repo1", "reachable": True}]}
    manifest = pod() | {"status": status}
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            with pytest.raises(ServerError):
                await client.apply_status(manifest)
    assert len([line for line in lines if "older than the operator" in line["event"]]) == 1
