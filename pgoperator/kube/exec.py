"""Runs commands in containers over a websocket.

A message consists of one byte with the channel and the data. Protocol v5 can close standard input. Servers
before 1.30 support only v4, so `head -c` in the container ends standard input there.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from pgoperator.errors import CommandFailed, CommandTimedOut
from pgoperator.kube.errors import ApiError, Forbidden, Invalid, Unreachable
from pgoperator.kube.kinds import POD
from pgoperator.kube.transport import Transport, parse

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
_STDIN, _STDOUT, _STDERR, _STATUS, _CLOSE = 0, 1, 2, 3, 255
_CHUNK = 32 * 1024
OUTPUT = 4 * 1024 * 1024
"""Bytes of output that a command may write: `pgbackrest info` of some thousand backups is the longest."""
_BROKEN_PIPE = 141  # exit status of a command whose output is not read
_UNAUTHORIZED = 401
# Passes $1 bytes of standard input to the command in the other arguments; the pipe has the command's status.
_BOUNDED = ("sh", "-c", 'n=$1; shift; head -c "$n" | "$@"', "sh")


@dataclass(frozen=True, slots=True)
class Target:
    """The container in which a command runs."""

    namespace: str
    pod: str
    container: str


async def run(
    transport: Transport, target: Target, command: Sequence[str], *, stdin: bytes, limit: float
) -> str:
    """Return standard output; CommandFailed for a non-zero status, CommandTimedOut after `limit` seconds."""
    try:
        async with asyncio.timeout(limit) as timer:
            if not stdin:
                return await _attempt(transport, target, command, stdin, (V5, V4), timer=timer)
            try:
                return await _attempt(transport, target, command, stdin, (V5,), timer=timer)
            except (Forbidden, Invalid) as error:
                if error.status == _UNAUTHORIZED:
                    raise
                # A server without v5 refuses the handshake with 400 or 403 before the command starts. A
                # missing permission causes the same error again, which is then raised.
                bounded = [*_BOUNDED, str(len(stdin)), *command]
                return await _attempt(transport, target, bounded, stdin, (V4,), timer=timer)
    except TimeoutError:
        raise CommandTimedOut(
            f"{_title(command)} did not finish within {limit:g} s in pod {target.namespace}/{target.pod}"
        ) from None


async def _attempt(
    transport: Transport,
    target: Target,
    command: Sequence[str],
    stdin: bytes,
    protocols: tuple[str, ...],
    *,
    timer: asyncio.Timeout,
) -> str:
    path = POD.path(target.namespace, target.pod, "exec")
    params = [("container", target.container), ("stdout", "true"), ("stderr", "true")]
    params += [("stdin", "true")] if stdin else []
    params += [("command", argument) for argument in command]
    about = ("Pod", target.namespace, target.pod)
    async with transport.websocket(path, params, protocols, about) as socket:
        # Send and receive concurrently: a command that writes before it has read all its input would
        # otherwise block both sides.
        sender = asyncio.create_task(_send(socket, stdin))
        try:
            output, errors, status = await _receive(socket, command)
            # The result is known: a slow goodbye of the server must not replace it with a timeout.
            timer.reschedule(None)
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
    if status is None:
        raise Unreachable(f"the connection closed before {_title(command)} finished", *about)
    printed = output.decode("utf-8", "replace")
    _check(status, _title(command), (errors.decode("utf-8", "replace"), printed), about)
    return printed


async def _send(socket: aiohttp.ClientWebSocketResponse, stdin: bytes) -> None:
    for begin in range(0, len(stdin), _CHUNK):
        await socket.send_bytes(bytes([_STDIN]) + stdin[begin : begin + _CHUNK])
    if stdin and socket.protocol == V5:
        await socket.send_bytes(bytes([_CLOSE, _STDIN]))


async def _receive(
    socket: aiohttp.ClientWebSocketResponse, command: Sequence[str]
) -> tuple[bytes, bytes, bytes | None]:
    """Return standard output, standard error and the final Status (None = the connection closed early).

    CommandFailed for more than OUTPUT bytes: users choose the container's image.
    """
    left = OUTPUT
    streams: dict[int, bytearray] = {_STDOUT: bytearray(), _STDERR: bytearray(), _STATUS: bytearray()}
    async for message in socket:
        data: bytes = message.data if message.type == aiohttp.WSMsgType.BINARY else b""
        if len(data) > 1 and data[0] in streams:
            left -= len(data) - 1
            if left < 0:
                errors = f"more than {OUTPUT} bytes of output"
                raise CommandFailed(_title(command), _BROKEN_PIPE, errors)
            streams[data[0]] += data[1:]
            if data[0] == _STATUS:
                return bytes(streams[_STDOUT]), bytes(streams[_STDERR]), bytes(streams[_STATUS])
    return bytes(streams[_STDOUT]), bytes(streams[_STDERR]), None


def _check(raw: bytes, what: str, streams: tuple[str, str], about: tuple[str, str, str]) -> None:
    """Raise CommandFailed for a non-zero exit status, ApiError when the command could not start."""
    status = parse(raw, about)
    if not isinstance(status, dict):
        raise Unreachable("the result of the command is unreadable", *about)
    if status.get("status") == "Success":
        return
    causes = (status.get("details") or {}).get("causes") or ()
    code = next((cause["message"] for cause in causes if cause.get("reason") == "ExitCode"), None)
    if code is None:
        raise ApiError(
            int(status.get("code", 500)),
            str(status.get("reason") or ""),
            str(status.get("message") or ""),
            *about,
        )
    raise CommandFailed(what, int(code), *streams)


def _title(command: Sequence[str]) -> str:
    return " ".join(command)[:100]
