"""A real kube-apiserver (no nodes) for the session, its CRDs, and proxies in front of it."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from local import control_plane as planes
from pgoperator.api import KINDS, Resource
from pgoperator.api.crd import crd
from pgoperator.kube.access import Access, from_kubeconfig
from pgoperator.kube.client import Client
from pgoperator.kube.errors import NotFound
from pgoperator.kube.transport import Request
from tests.support.proxy import TcpProxy

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_names = count(1)
_installed: set[Path] = set()


def pytest_configure(config: pytest.Config) -> None:
    # The control plane's processes intentionally outlive the objects that started them.
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
    """A proxy between a client and the API server that can cut and stall connections."""
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
    """Wait until the check is true."""
    async with asyncio.timeout(seconds):
        while True:
            answer = check()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.02)
    raise AssertionError(what)


def audit(control_plane: planes.Handle, namespace: str | None) -> list[tuple[str, str, str, int]]:
    """Return (verb, resource, name, status) of the finished requests in a namespace, oldest first.

    None stands for the requests outside any namespace, such as a list of all of them.
    """
    found = []
    # The log has the requests of all tests, and a test that waits reads it again and again.
    mark = f'"namespace":"{namespace}"' if namespace else ""
    for line in Path(control_plane.audit_log).read_text().splitlines():
        if mark not in line:
            continue
        entry = json.loads(line)
        what = entry.get("objectRef") or {}
        if "resource" not in what:
            continue
        if what.get("namespace") == namespace and entry["stage"] == "ResponseComplete":
            code = (entry.get("responseStatus") or {}).get("code", 0)
            found.append((entry["verb"], what["resource"], what.get("name", ""), code))
    return found


def compact(control_plane: planes.Handle) -> None:
    """Compact etcd to the current revision."""
    base = f"http://127.0.0.1:{control_plane.server.settings.etcd_port}/v3/kv/"

    def call(what: str, body: dict[str, object]) -> dict[str, object]:
        request = urllib.request.Request(base + what, json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    revision = call("range", {"key": "AA=="})["header"]["revision"]  # type: ignore[index]
    call("compaction", {"revision": revision, "physical": True})


async def send(
    client: Client,
    method: str,
    path: str,
    body: Any = None,
    content_type: str = "application/json",
    **params: str,
) -> Any:
    data = None if body is None else json.dumps(body).encode()
    return await client.transport.json(
        Request(method, path, method, params=params, body=data, content_type=content_type)
    )


async def apply(client: Client, path: str, body: Any) -> Any:
    params = {"fieldManager": "test", "force": "true"}
    return await send(client, "PATCH", path, body, "application/apply-patch+yaml", **params)


@pytest.fixture
async def crds(client: Client, control_plane: planes.Handle) -> None:
    """The CRDs, installed once for the session."""
    if control_plane.kubeconfig in _installed:
        return
    for kind in KINDS:
        await apply(client, f"{CRDS}/{kind.NAMES.plural}.pgv2.percona.com", crd(kind))
    for kind in KINDS:
        await eventually(lambda kind=kind: served(client, kind), f"{kind.NAMES.plural} are served")
    _installed.add(control_plane.kubeconfig)


async def served(client: Client, kind: type[Resource]) -> bool:
    try:
        await send(client, "GET", f"/apis/pgv2.percona.com/v2/{kind.NAMES.plural}")
    except NotFound:
        return False
    return True
