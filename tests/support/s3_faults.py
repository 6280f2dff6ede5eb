"""Faults of an S3 server: a proxy that answers with errors, late, or not at all."""

import asyncio
import ssl
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from tests.support.s3 import S3

Mode = Literal["pass", "slow", "silent", "refuse", "403", "500"]
DELAY = 1.5
_BODY = "<?xml version='1.0'?><Error><Code>{0}</Code><Message>injected</Message></Error>"
_REASONS = {"403": "Forbidden", "500": "Internal Server Error"}


class Proxy:
    """Terminates TLS with the server's certificate and forwards bytes until a fault is set."""

    def __init__(self, target: S3) -> None:
        self._target = target
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(target.folder / "tls.crt", target.folder / "tls.key")
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._mode: Mode = "pass"
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    def start(self) -> None:
        """Listen on all addresses, as the server does."""
        self._thread.start()
        self._call(self._listen())

    def become(self, mode: Mode) -> None:
        """Set the behaviour and close existing connections."""
        self._mode = mode
        self._call(self._cut())

    def stop(self) -> None:
        """End."""
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _call(self, work: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._link, "0.0.0.0", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._cut()
        await asyncio.gather(*self._links, return_exceptions=True)
        await asyncio.sleep(0.1)  # until the transports have closed as well

    async def _cut(self) -> None:
        for task in self._links:
            task.cancel()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        try:
            with suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._links.discard(task)
            with suppress(OSError, ssl.SSLError):
                writer.close()  # what is written is sent first

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mode = self._mode
        if mode == "silent":
            await asyncio.sleep(3600)
        elif mode in _REASONS:
            await self._answer(reader, writer, mode)
        elif mode != "refuse":
            await self._forward(reader, writer, DELAY if mode == "slow" else 0)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, code: str) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        lengths = [line for line in head.splitlines() if line.startswith("content-length:")]
        for line in lengths:
            await reader.readexactly(int(line.partition(":")[2]))
        body = _BODY.format(_REASONS[code].replace(" ", ""))
        lines = [f"HTTP/1.1 {code} {_REASONS[code]}", "Content-Type: application/xml"]
        lines += [f"Content-Length: {len(body)}", "Connection: close", "", body]
        writer.write("\r\n".join(lines).encode())
        await writer.drain()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float
    ) -> None:
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE  # it is this machine's
        far_reader, far = await asyncio.open_connection("127.0.0.1", self._target.port, ssl=trust)
        try:
            done, left = await asyncio.wait(
                [
                    asyncio.ensure_future(_pump(reader, far, 0)),
                    asyncio.ensure_future(_pump(far_reader, writer, delay)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in left:
                task.cancel()
            for task in done:
                task.exception()
        finally:
            far.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    while data := await reader.read(65536):
        await asyncio.sleep(delay)
        writer.write(data)
        await writer.drain()


@contextmanager
def proxy(target: S3) -> Iterator[Proxy]:
    """Put a proxy in front of the server for all clients of its Service."""
    found = Proxy(target)
    found.start()
    target.route(found.port)
    try:
        yield found
    finally:
        found.stop()
