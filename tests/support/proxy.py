"""Network faults between a client and a server."""

import asyncio
from contextlib import suppress


class TcpProxy:
    """Forwards bytes until a fault is set."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._open = True
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.port = 0
        self.accepted = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._link, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Close every connection; accept new ones."""
        for task in self._links:
            task.cancel()

    def refuse(self) -> None:
        """Close every connection and every new one."""
        self._open = False
        self.cut()

    def serve(self) -> None:
        """Forward bytes again."""
        self._open = True
        self._flowing.set()

    def stall(self) -> None:
        """Keep connections open but forward nothing, like a network that drops packets."""
        self._flowing.clear()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        self.accepted += 1
        far: asyncio.StreamWriter | None = None
        try:
            if self._open:
                far_reader, far = await asyncio.open_connection(*self._target)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(reader, far))
                    group.create_task(self._pump(far_reader, writer))
        except (asyncio.CancelledError, OSError, ExceptionGroup):
            pass
        finally:
            self._links.discard(task)
            for end in (writer, far):
                if end is not None:
                    end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._flowing.wait()
            writer.write(data)
            with suppress(ConnectionError):
                await writer.drain()
        raise ConnectionResetError
