"""Helpers that send custom resources to the API server of the session."""

import copy
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import yaml

from pgoperator import generate
from pgoperator.api import KINDS, Manifest
from pgoperator.kube.access import Access
from pgoperator.kube.client import Client
from pgoperator.kube.errors import ApiError
from tests.api.conftest import apply, send

Create = Callable[..., Awaitable[Manifest]]
Merge = Callable[[str, str, dict[str, Any]], Awaitable[Manifest]]

MERGE = "application/merge-patch+json"


@pytest.fixture
def create(client: Client, namespace: str, crds: None) -> Create:
    """Create an object with strict validation, by default without storing it."""

    async def create(manifest: Manifest, *, dry: bool = True) -> Manifest:
        (kind,) = [kind for kind in KINDS if kind.NAMES.kind == manifest["kind"]]
        manifest = copy.deepcopy(manifest)
        manifest["metadata"]["namespace"] = namespace
        params = {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry else {})
        path = f"/apis/pgv2.percona.com/v2/namespaces/{namespace}/{kind.NAMES.plural}"
        return await send(client, "POST", path, manifest, **params)

    return create


@pytest.fixture
def merge(client: Client, namespace: str, crds: None) -> Merge:
    async def merge(plural: str, name: str, patch: dict[str, Any]) -> Manifest:
        path = f"/apis/pgv2.percona.com/v2/namespaces/{namespace}/{plural}/{name}"
        return await send(client, "PATCH", path, patch, MERGE, fieldValidation="Strict")

    return merge


@pytest.fixture
async def operator(client: Client, access: Access, namespace: str, crds: None) -> AsyncIterator[Client]:
    """A client with the rights of the namespaced variant, and nothing else."""
    documents = yaml.safe_load_all((generate.ROOT / "manifests" / "rbac.yaml").read_text())
    account, role, binding = documents
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    core = f"/api/v1/namespaces/{namespace}"
    name = account["metadata"]["name"]
    await apply(client, f"{core}/serviceaccounts/{name}", account)
    await apply(client, f"{rbac}/roles/{name}", role)
    await apply(client, f"{rbac}/rolebindings/{name}", binding)
    operator = await client_of(client, access, namespace, name)
    yield operator
    await operator.close()


async def client_of(client: Client, access: Access, namespace: str, account: str) -> Client:
    """A client with the rights of a ServiceAccount, and nothing else."""
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    answer = await send(client, "POST", path, request)

    async def token(refresh: bool) -> str:
        return f"Bearer {answer['status']['token']}"

    # Without the certificate of the administrator, which is part of the other client's TLS context.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return Client(Access(access.server, context, token))


async def refused(creating: Awaitable[object], *words: str) -> str:
    with pytest.raises(ApiError) as caught:
        await creating
    assert caught.value.status in (400, 422), caught.value
    for word in words:
        assert word in caught.value.message
    return caught.value.message
