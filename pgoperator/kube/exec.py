"""Commands in containers, over a websocket.

The protocol: each message is one byte of channel and data. v5 can say "standard input ends here"; on servers
before 1.30, which speak v4 only, `head -c` in the container ends it instead.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import orjson

from pgoperator.errors import CommandFailed
from pgoperator.kube.errors import ApiError, Forbidden, Invalid, Unreachable
from pgoperator.kube.transport import Transport

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
_STDIN, _STDOUT, _STDERR, _STATUS, _CLOSE = 0, 1, 2, 3, 255
_CHUNK = 32 * 1024
# $1 bytes of standard input go to the rest of the words; the pipe's status is the command's.
_BOUNDED = ("sh", "-c", 'n=$1; shift; head -c "$n" | "$@"', "sh")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a command runs."""

    namespace: str
    pod: str
    container: str


async def run(
    transport: Transport, target: Target, command: Sequence[str], *, stdin: bytes, limit: float
) -> str:
    """Return standard output; CommandFailed with both streams, or Unreachable after `limit` seconds."""
    try:
        async with asyncio.timeout(limit):
            if not stdin:
                return await _attempt(transport, target, command, stdin, (V5, V4))
            try:
                return await _attempt(transport, target, command, stdin, (V5,))
            except (Forbidden, Invalid):
                # A server without v5 refuses the handshake with 400 or 403, before the command starts. A real
                # refusal comes again and is raised then.
                bounded = [*_BOUNDED, str(len(stdin)), *command]
                return await _attempt(transport, target, bounded, stdin, (V4,))
    except TimeoutError:
        raise Unreachable(
            f"{_title(command)} did not end within {limit:g} s", "Pod", target.namespace, target.pod
        ) from None


async def _attempt(
    transport: Transport, target: Target, command: Sequence[str], stdin: bytes, protocols: tuple[str, ...]
) -> str:
    path = f"/api/v1/namespaces/{target.namespace}/pods/{target.pod}/exec"
    params = [("container", target.container), ("stdout", "true"), ("stderr", "true")]
    params += [("stdin", "true")] if stdin else []
    params += [("command", word) for word in command]
    about = ("Pod", target.namespace, target.pod)
    async with transport.websocket(path, params, protocols, about) as socket:
        # Both ways at once: a command that writes before it has read everything would otherwise stop both
        # sides.
        sender = asyncio.create_task(_send(socket, stdin))
        try:
            output, errors, status = await _receive(socket)
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
    if status is None:
        raise Unreachable(f"the connection ended before {_title(command)} did", *about)
    printed = output.decode("utf-8", "replace")
    _check(status, _title(command), (errors.decode("utf-8", "replace"), printed), about)
    return printed


async def _send(socket: aiohttp.ClientWebSocketResponse, stdin: bytes) -> None:
    for begin in range(0, len(stdin), _CHUNK):
        await socket.send_bytes(bytes([_STDIN]) + stdin[begin : begin + _CHUNK])
    if stdin and socket.protocol == V5:
        await socket.send_bytes(bytes([_CLOSE, _STDIN]))


async def _receive(socket: aiohttp.ClientWebSocketResponse) -> tuple[bytes, bytes, bytes | None]:
    """Return standard output, standard error and the Status that ends every command (None = cut off)."""
    found: dict[int, bytearray] = {_STDOUT: bytearray(), _STDERR: bytearray(), _STATUS: bytearray()}
    async for message in socket:
        data: bytes = message.data if message.type == aiohttp.WSMsgType.BINARY else b""
        if len(data) > 1 and data[0] in found:
            found[data[0]] += data[1:]
            if data[0] == _STATUS:
                return bytes(found[_STDOUT]), bytes(found[_STDERR]), bytes(found[_STATUS])
    return bytes(found[_STDOUT]), bytes(found[_STDERR]), None


def _check(raw: bytes, what: str, streams: tuple[str, str], about: tuple[str, str, str]) -> None:
    """Raise CommandFailed for an exit status, ApiError when the command could not be started."""
    status = orjson.loads(raw)
    if status.get("status") == "Success":
        return
    causes = (status.get("details") or {}).get("causes") or ()
    code = next((cause["message"] for cause in causes if cause.get("reason") == "ExitCode"), None)
    if code is None:
        raise ApiError(
            int(status.get("code", 500)),
            str(status.get("reason", "")),
            str(status.get("message", "")),
            *about,
        )
    raise CommandFailed(what, int(code), *streams)


def _title(command: Sequence[str]) -> str:
    return " ".join(command)[:100]
