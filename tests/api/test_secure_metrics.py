"""Metrics over TLS for authorized clients: a real TokenReview, a real SubjectAccessReview."""

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pgoperator import pki
from pgoperator.errors import OperatorError
from pgoperator.install import rbac
from pgoperator.kube.client import Client
from pgoperator.kube.errors import AlreadyExists
from pgoperator.kube.transport import Request
from pgoperator.runtime.guard import Certificate, Guard
from pgoperator.runtime.server import Heart, Server
from tests.support.proxy import TcpProxy
from tests.unit.runtime.test_queue import Clock

pytestmark = pytest.mark.api
HOST = "metrics.example"
ROLES = "/apis/rbac.authorization.k8s.io/v1"


def issue(folder: Path) -> pki.Pair:
    """Write a certificate of a new CA into the folder, and return the CA."""
    now = datetime.now(UTC)
    ca = pki.new_ca("metrics", now)
    leaf = pki.issue(ca, common_name=HOST, dns_names=[HOST], now=now)
    (folder / "tls.crt").write_bytes(leaf.cert)
    (folder / "tls.key").write_bytes(leaf.key)
    return ca


async def post(client: Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    with suppress(AlreadyExists):
        found: dict[str, Any] = await client.transport.json(
            Request("POST", path, "POST", body=json.dumps(body).encode())
        )
        return found
    return {}


async def account(client: Client, namespace: str, name: str) -> str:
    """Create a ServiceAccount and return a token of it."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    metadata = {"name": name, "namespace": namespace}
    await post(client, path, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = await post(client, f"{path}/{name}/token", request)
    return str(answer["status"]["token"])


@pytest.fixture
async def reader(client: Client, namespace: str) -> str:
    """A token of a ServiceAccount with the shipped role."""
    _, role = rbac.secure_metrics()
    await post(client, f"{ROLES}/clusterroles", role)
    reference = {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": role["metadata"]["name"],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"reader-{namespace}"},
        "roleRef": reference,
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}],
    }
    await post(client, f"{ROLES}/clusterrolebindings", binding)
    return await account(client, namespace, "reader")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server(wired: Client, clock: Clock, tmp_path: Path) -> AsyncIterator[tuple[Server, pki.Pair]]:
    """The metrics server, whose API server can be cut off, and the CA of its certificate."""
    ca = issue(tmp_path)
    server = Server(Heart(), list, (Certificate(str(tmp_path)), Guard(wired, clock=clock)))
    await server.start(0, 0, "127.0.0.1")
    yield server, ca
    await server.stop()


async def get(
    server: Server, ca: pki.Pair, authorization: str = "", path: str = "/metrics"
) -> tuple[int, str]:
    headers = {"Authorization": authorization} if authorization else {}
    context = ssl.create_default_context(cadata=ca.cert.decode())
    url = f"https://127.0.0.1:{server.ports[0]}{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers=headers, ssl=context, server_hostname=HOST) as answer,
    ):
        return answer.status, await answer.text()


async def test_only_who_may_reads_the_metrics(
    server: tuple[Server, pki.Pair], reader: str, client: Client, namespace: str
) -> None:
    other = await account(client, namespace, "other")
    assert (await get(*server))[0] == 401
    assert (await get(*server, "Basic cm9vdDpyb290"))[0] == 401
    assert (await get(*server, "Bearer nonsense"))[0] == 401
    assert (await get(*server, f"Bearer {other}"))[0] == 403
    status, text = await get(*server, f"Bearer {reader}")
    assert status == 200
    assert "pgoperator_build_info" in text
    assert await get(*server, path="/healthz") == (200, "ok")


async def test_a_reader_is_let_in_for_a_minute_while_the_api_server_is_away(
    server: tuple[Server, pki.Pair], reader: str, proxy: TcpProxy, clock: Clock
) -> None:
    assert (await get(*server, f"Bearer {reader}"))[0] == 200
    await proxy.stop()
    assert (await get(*server, f"Bearer {reader}"))[0] == 200
    clock.now += 61
    assert (await get(*server, f"Bearer {reader}"))[0] == 503


async def test_a_new_certificate_is_served_and_a_broken_one_is_not(
    server: tuple[Server, pki.Pair], tmp_path: Path
) -> None:
    serving, first = server
    (tmp_path / "tls.crt").write_text("half of it")
    assert (await get(serving, first))[0] == 401
    second = issue(tmp_path)
    assert (await get(serving, second))[0] == 401
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await get(serving, first)


def test_no_certificate_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="PGO_METRICS_CERT_DIR"):
        Certificate(str(tmp_path))
