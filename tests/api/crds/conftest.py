"""Our CRDs on the API server of the session, and ways to try objects on them."""

import copy
import json

import pytest

from pgoperator.api import KINDS
from pgoperator.api.crd import crd
from pgoperator.kube.errors import ApiError, NotFound
from pgoperator.kube.transport import Request
from tests.api.conftest import eventually

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_installed = set()


async def send(client, method, path, body=None, content_type="application/json", **params):
    data = None if body is None else json.dumps(body).encode()
    return await client.transport.json(
        Request(method, path, method, params=params, body=data, content_type=content_type)
    )


async def apply(client, path, body):
    params = {"fieldManager": "test", "force": "true"}
    return await send(client, "PATCH", path, body, "application/apply-patch+yaml", **params)


@pytest.fixture
async def crds(client, control_plane):
    if control_plane.kubeconfig in _installed:
        return
    for kind in KINDS:
        await apply(client, f"{CRDS}/{kind.NAMES.plural}.pgv2.percona.com", crd(kind))
    for kind in KINDS:
        await eventually(lambda kind=kind: served(client, kind), f"{kind.NAMES.plural} are served")
    _installed.add(control_plane.kubeconfig)


async def served(client, kind):
    try:
        await send(client, "GET", f"/apis/pgv2.percona.com/v2/{kind.NAMES.plural}")
    except NotFound:
        return False
    return True


@pytest.fixture
def create(client, namespace, crds):
    """Create an object with strict validation, by default without storing it."""

    async def create(manifest, *, dry=True):
        (kind,) = [kind for kind in KINDS if kind.NAMES.kind == manifest["kind"]]
        manifest = copy.deepcopy(manifest)
        manifest["metadata"]["namespace"] = namespace
        params = {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry else {})
        path = f"/apis/pgv2.percona.com/v2/namespaces/{namespace}/{kind.NAMES.plural}"
        return await send(client, "POST", path, manifest, **params)

    return create


@pytest.fixture
def merge(client, namespace, crds):
    async def merge(plural, name, patch):
        path = f"/apis/pgv2.percona.com/v2/namespaces/{namespace}/{plural}/{name}"
        return await send(
            client, "PATCH", path, patch, "application/merge-patch+json", fieldValidation="Strict"
        )

    return merge


async def refused(creating, *words):
    with pytest.raises(ApiError) as caught:
        await creating
    assert caught.value.status in (400, 422), caught.value
    for word in words:
        assert word in caught.value.message
    return caught.value.message
