"""Names from custom resources cannot change which object a request is about."""

from collections.abc import AsyncIterator

import pytest

from pgoperator.kube.client import Client
from pgoperator.kube.errors import NotFound
from pgoperator.kube.kinds import SECRET
from tests.support.stub_api import StubApi

BAD = ["", ".", "..", "../x", "a/b", "a%2Fb"]


@pytest.fixture
async def stub() -> AsyncIterator[StubApi]:
    stub = StubApi()
    stub.access = await stub.start()  # type: ignore[attr-defined]
    yield stub
    await stub.stop()


@pytest.fixture
async def client(stub: StubApi) -> AsyncIterator[Client]:
    client = Client(stub.access)  # type: ignore[attr-defined]
    yield client
    await client.close()


@pytest.mark.parametrize("name", BAD)
async def test_a_name_that_no_object_can_have_costs_no_request(
    client: Client, stub: StubApi, name: str
) -> None:
    with pytest.raises(NotFound):
        await client.get(SECRET, "ns", name)
    with pytest.raises(NotFound):
        await client.get(SECRET, name, "name")
    await client.delete(SECRET, "ns", name, uid="u")
    with pytest.raises(NotFound):
        await client.merge_patch(SECRET, "ns", name, {})
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "ns"}}
    with pytest.raises(NotFound):
        await client.apply(manifest)
    assert stub.requests == []
