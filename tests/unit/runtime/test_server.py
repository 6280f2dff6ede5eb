from collections.abc import AsyncIterator

import aiohttp
import pytest

from pgoperator.runtime.server import Heart, Server
from tests.unit.runtime.test_queue import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def missing() -> list[str]:
    return ["Pod", "Secret"]


@pytest.fixture
async def server(clock: Clock, missing: list[str]) -> AsyncIterator[Server]:
    server = Server(Heart(clock=clock), lambda: missing)
    await server.start(0, 0, "127.0.0.1")
    yield server
    await server.stop()


async def get(port: int, path: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def test_ready_when_every_list_is_there(server: Server, missing: list[str]) -> None:
    _, health = server.ports
    assert await get(health, "/readyz") == (503, "waiting for the first list of: Pod, Secret")
    missing.clear()
    assert await get(health, "/readyz") == (200, "ok")


async def test_alive_while_the_loop_turns(server: Server, clock: Clock) -> None:
    for port in server.ports:
        assert (await get(port, "/healthz"))[0] == 200
    clock.now += 16
    for port in server.ports:
        assert (await get(port, "/healthz"))[0] == 500


async def test_metrics_are_prometheus_text(server: Server) -> None:
    status, text = await get(server.ports[0], "/metrics")
    assert status == 200
    assert "# TYPE process_resident_memory_bytes gauge" in text
    assert 'pgoperator_build_info{version="' in text
