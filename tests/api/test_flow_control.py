"""manifests/hardening/flow-control.yaml: Patroni renews its lock while others occupy the API server."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

import aiohttp
import pytest
import yaml

from pgoperator import generate
from pgoperator.kube.access import Access
from pgoperator.kube.client import Client
from tests.support.output import emit

HUNG = 12
"""Seconds for which the API server waits in each request of the noisy clients."""
LOST = 8.0
"""A renewal that takes longer than Patroni's `retry_timeout` (10 s) costs the lock."""
CLIENTS, EACH = 12, 60
"""Noisy accounts and their requests at a time: more than `workload-low` and what it may borrow can serve."""
MANIFEST = [*yaml.safe_load_all((generate.ROOT / "manifests/hardening/flow-control.yaml").read_text())]


class Server:
    """Requests to the API server as other accounts."""

    def __init__(self, session: aiohttp.ClientSession, access: Access, namespace: str) -> None:
        self.session, self.access, self.namespace = session, access, namespace

    async def send(
        self, method: str, path: str, body: Any = None, account: str = "", limit: float = 60
    ) -> int:
        """Send a request and return its status; `account`: a ServiceAccount, else the administrator."""
        headers = {
            "Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json"
        }
        if account:
            headers["Impersonate-User"] = f"system:serviceaccount:{self.namespace}:{account}"
            headers["Impersonate-Group"] = "system:serviceaccounts"
        async with self.session.request(
            method,
            self.access.server + path,
            data=json.dumps(body),
            headers=headers,
            ssl=self.access.tls or True,
            timeout=aiohttp.ClientTimeout(limit),
        ) as response:
            await response.read()
            return response.status

    async def renew(self) -> float:
        """Patch an Endpoints as Patroni does; return the seconds."""
        began = time.monotonic()
        body = {"metadata": {"annotations": {"renewTime": str(began)}}}
        path = f"/api/v1/namespaces/{self.namespace}/endpoints/lock"
        with suppress(TimeoutError):
            status = await self.send("PATCH", path, body, "shop-instance", LOST)
            assert status in {200, 429}, status
            if status == 429:
                return LOST
        return time.monotonic() - began


@pytest.fixture
async def server(access: Access, namespace: str) -> AsyncIterator[Server]:
    """The API server with an Endpoints, and rights for all accounts of the namespace."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        made = Server(session, access, namespace)
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": f"flow-{namespace}"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "cluster-admin",
            },
            "subjects": [
                {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": one}
                for one in (
                    f"system:serviceaccount:{namespace}:shop-instance",
                    *(f"system:serviceaccount:{namespace}:noisy-{number}" for number in range(CLIENTS)),
                )
            ],
        }
        bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
        assert await made.send("POST", bindings, binding) == 201
        lock = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "lock"}}
        assert await made.send("POST", f"/api/v1/namespaces/{namespace}/endpoints", lock) == 201
        yield made
        await made.send("DELETE", f"{bindings}/flow-{namespace}")


@asynccontextmanager
async def saturated(server: Server) -> AsyncIterator[None]:
    """The level of all ServiceAccounts is full: an admission webhook does not answer."""

    connections: list[asyncio.StreamWriter] = []

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    webhooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    name = f"flow-{server.namespace}"
    hook = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": "silent.example.com",
                "clientConfig": {"url": f"https://127.0.0.1:{port}/"},
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Ignore",
                "timeoutSeconds": HUNG,
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": server.namespace}},
                "rules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["configmaps"],
                    }
                ],
            }
        ],
    }
    assert await server.send("POST", webhooks, hook) == 201
    numbers = count()

    async def noisy(account: int) -> None:
        path = f"/api/v1/namespaces/{server.namespace}/configmaps"
        while True:
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"noise-{next(numbers)}"}}
            with suppress(TimeoutError, aiohttp.ClientError):
                if await server.send("POST", path, body, f"noisy-{account}") == 429:
                    await asyncio.sleep(0.5)

    tasks = [asyncio.create_task(noisy(number % CLIENTS)) for number in range(CLIENTS * EACH)]
    try:
        await asyncio.sleep(4)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.send("DELETE", f"{webhooks}/{name}")
        listener.close()
        for connection in connections:
            connection.close()


async def test_the_lock_is_renewed_while_others_occupy_the_api_server(server: Server, client: Client) -> None:
    assert await server.renew() < 1
    paths = {
        "FlowSchema": "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
        "PriorityLevelConfiguration": "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations",
    }
    async with saturated(server):
        without = await server.renew()
        for one in MANIFEST:
            assert await server.send("POST", paths[one["kind"]], one) == 201
        try:
            await asyncio.sleep(5)  # until the API server uses them
            protected = [await server.renew() for _ in range(10)]
        finally:
            for one in MANIFEST:
                await server.send("DELETE", f"{paths[one['kind']]}/{one['metadata']['name']}")
    emit(f"renewals: {without:.1f} s without, {max(protected):.1f} s with the priority level")
    assert without >= LOST, "the API server was not saturated"
    assert max(protected) < 2
