"""The words of the exec protocol, with a server that speaks them; real containers are in the e2e tests."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import aiohttp
import pytest
from aiohttp import web

from pgoperator.errors import CommandFailed, CommandTimedOut
from pgoperator.kube.access import Access
from pgoperator.kube.client import Client
from pgoperator.kube.errors import ApiError, Forbidden, Unreachable
from pgoperator.kube.exec import OUTPUT

SUCCESS = json.dumps({"status": "Success"}).encode()
Script = Callable[[web.WebSocketResponse, web.Request], Awaitable[None]]


class Kubelet:
    """Runs `script` for each connection, if the client speaks one of `protocols`."""

    def __init__(self) -> None:
        self.protocols: tuple[str, ...] = ("v5.channel.k8s.io", "v4.channel.k8s.io")
        self.script: Script = self.echo
        self.commands: list[list[str]] = []
        self.refusal = 403

    async def handle(self, request: web.Request) -> web.StreamResponse:
        asked = request.headers["Sec-WebSocket-Protocol"].replace(" ", "").split(",")
        if not set(asked) & set(self.protocols):
            return web.Response(status=self.refusal)
        self.commands.append(request.query.getall("command"))
        socket = web.WebSocketResponse(protocols=self.protocols)
        await socket.prepare(request)
        await self.script(socket, request)
        await socket.close()
        return socket

    async def echo(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        """Like cat, if there is standard input; for v4, like `head -c N | cat`."""
        if request.query.get("stdin"):
            bounded = request.query.getall("command")[0] == "sh"
            left = int(request.query.getall("command")[4]) if bounded else -1
            async for message in socket:
                if message.type != aiohttp.WSMsgType.BINARY or message.data == bytes([255, 0]):
                    break
                assert message.data[0] == 0
                await socket.send_bytes(b"\x01" + message.data[1:])
                left -= len(message.data) - 1
                if left == 0:
                    break
        else:
            await socket.send_bytes(b"\x01hello\n")
        await socket.send_bytes(b"\x03" + SUCCESS)


@pytest.fixture
async def kubelet() -> Kubelet:
    return Kubelet()


@pytest.fixture
async def client(kubelet: Kubelet) -> AsyncIterator[Client]:
    app = web.Application()
    app.router.add_get("/api/v1/namespaces/ns/pods/p/exec", kubelet.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()

    async def token(refresh: bool) -> str:
        return "Bearer x"

    client = Client(Access(f"http://127.0.0.1:{runner.addresses[0][1]}", None, token))
    yield client
    await client.close()
    await runner.cleanup()


async def test_standard_output_is_returned(client: Client, kubelet: Kubelet) -> None:
    assert await client.exec("ns", "p", "c", ["echo", "hello & good"]) == "hello\n"
    assert kubelet.commands == [["echo", "hello & good"]]


async def test_standard_input_ends(client: Client) -> None:
    text = "select 'ä';\n" * 20_000  # several messages
    assert await client.exec("ns", "p", "c", ["cat"], stdin=text.encode()) == text


async def test_standard_input_ends_on_old_servers_too(client: Client, kubelet: Kubelet) -> None:
    kubelet.protocols = ("v4.channel.k8s.io",)
    assert await client.exec("ns", "p", "c", ["cat"], stdin=b"text") == "text"
    (command,) = kubelet.commands  # nothing was started before the wrapper was
    assert command[:2] == ["sh", "-c"]
    assert command[4:] == ["4", "cat"]


async def test_who_is_not_allowed_is_told_so(client: Client, kubelet: Kubelet) -> None:
    kubelet.protocols = ()
    with pytest.raises(Forbidden):
        await client.exec("ns", "p", "c", ["cat"], stdin=b"text")
    with pytest.raises(Forbidden):
        await client.exec("ns", "p", "c", ["true"])


async def test_an_exit_status_is_an_error_with_what_was_said(client: Client, kubelet: Kubelet) -> None:
    async def script(socket: web.WebSocketResponse, request: web.Request) -> None:
        causes = [{"reason": "ExitCode", "message": "3"}]
        status = {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}
        await socket.send_bytes(b"\x02no such ")
        await socket.send_bytes(b"\x01ERROR: [103]\n")
        await socket.send_bytes(b"\x02table")
        await socket.send_bytes(b"\x03" + json.dumps(status).encode())

    kubelet.script = script
    with pytest.raises(CommandFailed) as caught:
        await client.exec("ns", "p", "c", ["psql", "-X"])
    assert (caught.value.command, caught.value.code, caught.value.stderr) == ("psql -X", 3, "no such table")
    assert caught.value.diagnostics == "no such table"
    assert caught.value.stdout == "ERROR: [103]\n"
    assert "103" not in str(caught.value), "what a command prints may be data"
    assert CommandFailed("pgbackrest", 103, "", caught.value.stdout).diagnostics == "ERROR: [103]"


async def test_a_command_that_cannot_start_is_an_api_error(client: Client, kubelet: Kubelet) -> None:
    async def script(socket: web.WebSocketResponse, request: web.Request) -> None:
        status = {"status": "Failure", "code": 500, "message": "no such file"}
        await socket.send_bytes(b"\x03" + json.dumps(status).encode())

    kubelet.script = script
    with pytest.raises(ApiError, match="no such file"):
        await client.exec("ns", "p", "c", ["nonsense"])


async def test_a_connection_that_ends_early_is_no_success(client: Client, kubelet: Kubelet) -> None:
    async def script(socket: web.WebSocketResponse, request: web.Request) -> None:
        await socket.send_bytes(b"\x01half of it")

    kubelet.script = script
    with pytest.raises(Unreachable, match="closed before"):
        await client.exec("ns", "p", "c", ["cat", "file"])


async def test_a_command_that_hangs_is_left(client: Client, kubelet: Kubelet) -> None:
    async def script(socket: web.WebSocketResponse, request: web.Request) -> None:
        await socket.receive()

    kubelet.script = script
    with pytest.raises(CommandTimedOut, match=r"within 0\.05 s in pod ns/p"):
        await client.exec("ns", "p", "c", ["sleep", "60"], timeout=0.05)


@pytest.mark.parametrize("channel", [b"\x01", b"\x02"])
async def test_endless_output_is_cut_off(client: Client, kubelet: Kubelet, channel: bytes) -> None:
    sent = 0

    async def script(socket: web.WebSocketResponse, request: web.Request) -> None:
        nonlocal sent
        with suppress(ConnectionError):
            while sent < 4 * OUTPUT:
                await socket.send_bytes(channel + bytes(32 * 1024))
                sent += 32 * 1024

    kubelet.script = script
    with pytest.raises(CommandFailed, match="more than 4194304 bytes of output"):
        await client.exec("ns", "p", "c", ["yes"], timeout=20)


async def test_a_message_without_end_is_cut_off(client: Client, kubelet: Kubelet) -> None:
    async def script(socket: web.WebSocketResponse, request: web.Request) -> None:
        with suppress(ConnectionError):
            await socket.send_bytes(b"\x01" + bytes(2 * OUTPUT))

    kubelet.script = script
    with pytest.raises(Unreachable, match="closed before"):
        await client.exec("ns", "p", "c", ["yes"], timeout=20)


async def test_a_slow_goodbye_does_not_hide_the_result(client: Client, kubelet: Kubelet) -> None:
    async def script(socket: web.WebSocketResponse, request: web.Request) -> None:
        await socket.send_bytes(b"\x01done")
        await socket.send_bytes(b"\x03" + SUCCESS)
        await asyncio.sleep(5)

    kubelet.script = script
    begin = time.monotonic()
    assert await client.exec("ns", "p", "c", ["true"], timeout=0.5) == "done"
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize("status", [b"nonsense", b"[]"])
async def test_an_unreadable_result_is_no_success(client: Client, kubelet: Kubelet, status: bytes) -> None:
    async def script(socket: web.WebSocketResponse, request: web.Request) -> None:
        await socket.send_bytes(b"\x03" + status)

    kubelet.script = script
    with pytest.raises(Unreachable):
        await client.exec("ns", "p", "c", ["true"])
