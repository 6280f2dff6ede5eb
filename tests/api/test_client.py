"""The guarantees of the client, tested against a real API server."""

import time
from collections.abc import AsyncIterator

import pytest

from pgoperator import __version__, metrics
from pgoperator.kube.access import Access
from pgoperator.kube.client import Client
from pgoperator.kube.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    ServerError,
    Throttled,
    Unreachable,
)
from pgoperator.kube.kinds import CONFIG_MAP, POD, SECRET, STATEFUL_SET
from pgoperator.kube.manifest import Manifest
from tests.api.test_watch import config_map
from tests.support.http_proxy import HttpProxy
from tests.support.proxy import TcpProxy

pytestmark = pytest.mark.api


@pytest.fixture
async def between(access: Access) -> AsyncIterator[HttpProxy]:
    proxy = HttpProxy(access)
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture
async def through(between: HttpProxy) -> AsyncIterator[Client]:
    client = Client(between.access, timeout=5)
    yield client
    await client.close()


def pod(namespace: str) -> Manifest:
    container = {"name": "c", "image": "none", "resources": {"requests": {"memory": "1024Mi"}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": namespace},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 30, "nodeName": "none"},
    }


async def test_apply_creates_takes_over_and_gives_up_fields(client: Client, namespace: str) -> None:
    await client.create(config_map(namespace, "a", mine="1", theirs="1"))
    applied = await client.apply(config_map(namespace, "a", mine="2", ours="2"))
    assert applied["data"] == {"mine": "2", "ours": "2", "theirs": "1"}
    applied = await client.apply(config_map(namespace, "a", mine="2"))
    assert "ours" not in applied["data"]
    managers = {entry["manager"]: entry["operation"] for entry in applied["metadata"]["managedFields"]}
    assert managers["pgoperator"] in {"Apply", "Update"}
    assert applied["apiVersion"] == "v1"


async def test_status_is_applied_under_its_own_manager(client: Client, namespace: str) -> None:
    await client.create(pod(namespace))
    status = {"conditions": [{"type": "Mine", "status": "True"}]}
    meta = {"name": "p", "namespace": namespace, "labels": {"not": "sent"}}
    answer = await client.apply_status(
        {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": status}
    )
    assert [item["status"] for item in answer["status"]["conditions"] if item["type"] == "Mine"] == ["True"]
    assert "labels" not in answer["metadata"]
    managers = {entry["manager"]: entry.get("subresource") for entry in answer["metadata"]["managedFields"]}
    assert managers["pgoperator-status"] == "status"


async def test_a_status_is_told_as_far_as_the_definitions_go(client: Client, namespace: str) -> None:
    """Definitions that are older than the operator lack its newest fields."""
    await client.create(pod(namespace))
    condition = {"type": "Mine", "status": "True", "mood": "good"}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": namespace}}
    manifest["status"] = {"conditions": [condition, condition | {"type": "Other"}], "weather": {"rain": True}}
    answer = await client.apply_status(manifest)
    assert [c["type"] for c in answer["status"]["conditions"]] == ["Mine", "Other"]
    assert not [c for c in answer["status"]["conditions"] if "mood" in c]
    assert "weather" not in answer["status"]


async def test_merge_patch_with_a_version_is_a_precondition(client: Client, namespace: str) -> None:
    first = await client.create(config_map(namespace, "a", x="1"))
    version = first["metadata"]["resourceVersion"]
    await client.merge_patch(CONFIG_MAP, namespace, "a", {"data": {"x": "2"}})
    with pytest.raises(Conflict):
        await client.merge_patch(
            CONFIG_MAP, namespace, "a", {"metadata": {"resourceVersion": version}, "data": {"x": "3"}}
        )
    assert (await client.get(CONFIG_MAP, namespace, "a"))["data"] == {"x": "2"}


async def test_delete_keeps_to_its_preconditions(client: Client, namespace: str) -> None:
    made = await client.create(config_map(namespace, "a"))
    with pytest.raises(Conflict):
        await client.delete(CONFIG_MAP, namespace, "a", uid="another")
    with pytest.raises(Conflict):
        await client.delete(CONFIG_MAP, namespace, "a", uid=None, resource_version="1")
    await client.delete(CONFIG_MAP, namespace, "a", uid=made["metadata"]["uid"])
    await client.delete(CONFIG_MAP, namespace, "a", uid=None)
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAP, namespace, "a")


async def test_delete_sets_the_grace(client: Client, namespace: str) -> None:
    await client.create(pod(namespace))
    await client.delete(POD, namespace, "p", uid=None, grace_seconds=7)
    assert (await client.get(POD, namespace, "p"))["metadata"]["deletionGracePeriodSeconds"] == 7


async def test_refusals_say_what_of_which(client: Client, namespace: str) -> None:
    await client.create(config_map(namespace, "a"))
    with pytest.raises(AlreadyExists) as taken:
        await client.create(config_map(namespace, "a"))
    assert (taken.value.kind, taken.value.namespace, taken.value.name) == ("ConfigMap", namespace, "a")
    with pytest.raises(Invalid, match=r"spec\.selector"):
        await client.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "StatefulSet",
                "metadata": {"name": "s", "namespace": namespace},
                "spec": {"serviceName": "s", "template": {"metadata": {}, "spec": {"containers": []}}},
            }
        )
    with pytest.raises(NotFound):
        await client.get(STATEFUL_SET, namespace, "s")
    with pytest.raises(NotFound):
        await client.create(config_map("no-such-namespace", "a"))


async def test_who_is_not_allowed_is_told(access: Access, namespace: str) -> None:
    async def token(refresh: bool) -> str:
        return "Bearer wrong"

    import ssl

    tls = ssl.create_default_context()
    assert access.tls is not None
    tls.load_verify_locations(cadata=b"".join(access.tls.get_ca_certs(binary_form=True)))
    client = Client(Access(access.server, tls, token))
    with pytest.raises(Forbidden):
        await client.list(SECRET, namespace)
    await client.close()


async def test_throttled_requests_wait_as_told_and_are_repeated(
    between: HttpProxy, through: Client, namespace: str
) -> None:
    between.answers = [(429, {"Retry-After": "1"}), (503, {"Retry-After": "1"})]
    begin = time.monotonic()
    await through.apply(config_map(namespace, "a"))
    assert time.monotonic() - begin > 1.9
    assert [method for method, _ in between.requests] == ["PATCH"] * 3
    assert between.headers["User-Agent"] == f"pgoperator/{__version__}"


async def test_a_long_retry_after_is_the_callers_to_wait_for(between: HttpProxy, through: Client) -> None:
    between.answers = [(429, {"Retry-After": "60"})]
    with pytest.raises(Throttled) as caught:
        await through.get(CONFIG_MAP, "default", "a")
    assert caught.value.retry_after == 60
    assert len(between.requests) == 1


async def test_failures_are_repeated_a_bounded_number_of_times(between: HttpProxy, through: Client) -> None:
    between.answers = [(503, {})] * 20
    with pytest.raises(ServerError):
        await through.get(CONFIG_MAP, "default", "a")
    assert len(between.requests) == 5


async def test_create_is_repeated_only_if_it_was_not_carried_out(
    between: HttpProxy, through: Client, namespace: str
) -> None:
    between.answers = [(503, {"Retry-After": "1"})]
    with pytest.raises(ServerError):
        await through.create(config_map(namespace, "a"))
    between.answers = [(429, {"Retry-After": "1"})]
    await through.create(config_map(namespace, "a"))
    assert len(between.requests) == 3


async def test_an_expired_token_is_read_again_once(
    between: HttpProxy, through: Client, namespace: str
) -> None:
    between.answers = [(401, {})]
    await through.list(CONFIG_MAP, namespace)
    assert between.headers["Authorization"] == "Bearer second"
    between.answers = [(401, {}), (401, {})]
    with pytest.raises(Forbidden):
        await through.list(CONFIG_MAP, namespace)


async def test_no_answer_is_unreachable(wired: Client, proxy: TcpProxy) -> None:
    proxy.refuse()
    with pytest.raises(Unreachable, match="ConfigMap default/a"):
        await wired.get(CONFIG_MAP, "default", "a")


async def test_a_connection_that_died_idle_costs_nothing(
    wired: Client, proxy: TcpProxy, namespace: str
) -> None:
    await wired.create(config_map(namespace, "a"))
    proxy.cut()
    assert (await wired.get(CONFIG_MAP, namespace, "a"))["kind"] == "ConfigMap"


async def test_requests_are_counted_as_go_clients_count_them(client: Client, namespace: str) -> None:
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAP, namespace, "none")
    text = metrics.exposition().decode()
    host = client.transport.host
    assert f'rest_client_requests_total{{code="404",host="{host}",method="GET"}}' in text
    assert f'rest_client_request_duration_seconds_count{{host="{host}",verb="GET"}}' in text
