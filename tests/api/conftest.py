"""A real kube-apiserver (no nodes) for the session, and what stands between us and it."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from local import control_plane as planes
from pgoperator.kube.access import Access, from_kubeconfig
from pgoperator.kube.client import Client
from tests.support.proxy import TcpProxy

_names = count(1)


def pytest_configure(config: pytest.Config) -> None:
    # The control plane's processes outlive the objects that started them, on purpose.
    config.addinivalue_line("filterwarnings", "ignore:subprocess .* is still running:ResourceWarning")


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[planes.Handle]:
    """etcd and kube-apiserver."""
    handle = planes.start(tmp_path_factory.mktemp("control-plane"))
    yield handle
    handle.stop()


@pytest.fixture
async def access(control_plane: planes.Handle) -> Access:
    return await from_kubeconfig(str(control_plane.kubeconfig))


@pytest.fixture
async def client(access: Access) -> AsyncIterator[Client]:
    client = Client(access)
    yield client
    await client.close()


@pytest.fixture
async def namespace(client: Client) -> str:
    """A namespace of the test's own."""
    name = f"t{next(_names)}"
    await create_namespace(client, name)
    return name


@pytest.fixture
async def proxy(control_plane: planes.Handle) -> AsyncIterator[TcpProxy]:
    """A wire between a client and the API server that can be cut and stalled."""
    proxy = TcpProxy("127.0.0.1", control_plane.server.settings.port)
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture
async def wired(access: Access, proxy: TcpProxy) -> AsyncIterator[Client]:
    """A client whose every connection goes through `proxy`."""
    client = Client(Access(f"https://127.0.0.1:{proxy.port}", access.tls, access.token), timeout=5)
    yield client
    await client.close()


async def create_namespace(client: Client, name: str) -> None:
    from pgoperator.kube.transport import Request

    body = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).encode()
    await client.transport.json(Request("POST", "/api/v1/namespaces", "POST", body=body))


async def eventually(
    check: Callable[[], bool] | Callable[[], Awaitable[bool]], what: str, seconds: float = 20
) -> None:
    """Wait until the world is so."""
    async with asyncio.timeout(seconds):
        while True:
            answer = check()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.02)
    raise AssertionError(what)


def audit(control_plane: planes.Handle, namespace: str) -> list[tuple[str, str, str, int]]:
    """Return (verb, resource, name, status) of the finished requests in a namespace, oldest first."""
    found = []
    for line in Path(control_plane.audit_log).read_text().splitlines():
        entry = json.loads(line)
        what = entry.get("objectRef") or {}
        if what.get("namespace") == namespace and entry["stage"] == "ResponseComplete":
            code = (entry.get("responseStatus") or {}).get("code", 0)
            found.append((entry["verb"], what["resource"], what.get("name", ""), code))
    return found


def compact(control_plane: planes.Handle) -> None:
    """Have etcd forget everything but the present."""
    base = f"http://127.0.0.1:{control_plane.server.settings.etcd_port}/v3/kv/"

    def call(what: str, body: dict[str, object]) -> dict[str, object]:
        request = urllib.request.Request(base + what, json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    revision = call("range", {"key": "AA=="})["header"]["revision"]  # type: ignore[index]
    call("compaction", {"revision": revision, "physical": True})
