"""One object cannot hurt the others: the operator with its real controllers against a real API server."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from pgoperator import naming
from pgoperator.kube.client import Client
from pgoperator.kube.errors import ApiError, Invalid
from pgoperator.kube.kinds import PG_BACKUP, PG_CLUSTER
from pgoperator.kube.manifest import Manifest, uid_of
from pgoperator.kube.transport import Request
from pgoperator.runtime.manager import Manager
from reconcilers import controllers
from tests.api.conftest import eventually
from tests.api.test_manager import running, settings
from tests.unit.api.manifests import backup, claim, cluster

pytestmark = pytest.mark.api
ROOT = Path(__file__).parents[2]
YEAR_0 = "0000-01-01T00:00:00Z"


@pytest.fixture
async def operator(client: Client, namespace: str, crds: None) -> AsyncIterator[Manager]:
    """The operator without its process; the test fails when a watcher, a worker or the manager ends."""
    await served(client, namespace)
    manager = Manager(settings(namespace), client, controllers(settings(namespace)), finish=0.2)
    async with running(manager):
        await eventually(lambda: not manager.unready(), "synced")
        yield manager


async def served(client: Client, namespace: str) -> None:
    async def check() -> bool:
        try:
            await client.list(PG_CLUSTER, namespace)
            await client.list(PG_BACKUP, namespace)
        except ApiError:
            return False
        return True

    await eventually(check, "the definitions")


def named(name: str, namespace: str, **spec: Any) -> Manifest:
    manifest = cluster(**spec)
    manifest["metadata"] = {"name": name, "namespace": namespace}
    return manifest


async def create_raw(client: Client, namespace: str, plural: str, body: bytes) -> None:
    path = f"/apis/pgv2.percona.com/v2/namespaces/{namespace}/{plural}"
    await client.transport.json(Request("POST", path, "POST", body=body))


def deep(name: str, namespace: str, levels: int) -> bytes:
    """A cluster as text: neither `json` nor orjson can write it."""
    manifest = named(name, namespace, patroni={"dynamicConfiguration": "DEEP"})
    return json.dumps(manifest).encode().replace(b'"DEEP"', b'{"a":' * levels + b"1" + b"}" * levels)


async def refused(client: Client, namespace: str, name: str, reason: str) -> str:
    """Wait until the status shows the reason; return the message."""
    found: list[str] = []

    async def check() -> bool:
        manifest = await client.get(PG_CLUSTER, namespace, name)
        conditions = (manifest.get("status") or {}).get("conditions", [])
        found[:] = [c["message"] for c in conditions if c["reason"] == reason]
        return bool(found)

    await eventually(check, f"{name} is refused")
    return found[0]


async def good(client: Client, namespace: str, name: str = "good") -> None:
    """Create a good cluster and wait until the operator works for it."""
    await client.create(named(name, namespace))

    async def check() -> bool:
        return bool((await client.get(PG_CLUSTER, namespace, name))["metadata"].get("finalizers"))

    await eventually(check, "the good cluster is reconciled")


@pytest.mark.parametrize("levels", [100, 300, 1020, 1200, 9000])
async def test_an_object_of_any_depth_is_refused_alone(
    operator: Manager, client: Client, namespace: str, levels: int
) -> None:
    await create_raw(client, namespace, PG_CLUSTER.plural, deep("deep", namespace, levels))
    message = await refused(client, namespace, "deep", "TooLarge")
    assert re.match(r"spec\.patroni\.dynamicConfiguration\.a", message)
    await good(client, namespace)
    uid = uid_of(await client.get(PG_CLUSTER, namespace, "deep"))
    await client.delete(PG_CLUSTER, namespace, "deep", uid=uid)
    await eventually(lambda: [k.name for k in operator.store.keys(PG_CLUSTER)] == ["good"], "it can go")


async def test_an_operator_starts_beside_deep_objects(client: Client, namespace: str, crds: None) -> None:
    await served(client, namespace)
    for levels in (300, 2000):
        await create_raw(client, namespace, PG_CLUSTER.plural, deep(f"deep{levels}", namespace, levels))
    await client.create(named("before", namespace))
    manager = Manager(settings(namespace), client, controllers(settings(namespace)), finish=0.2)
    async with running(manager):
        await good(client, namespace)
        for levels in (300, 2000):
            await refused(client, namespace, f"deep{levels}", "TooLarge")
        names = [key.name for key in manager.store.keys(PG_CLUSTER)]
        assert names == ["before", "deep2000", "deep300", "good"]


async def test_a_huge_backup_is_refused_in_its_status(
    operator: Manager, client: Client, namespace: str
) -> None:
    manifest = backup(pgCluster="x" * 300_000)
    manifest["metadata"] = {"name": "huge", "namespace": namespace}
    await client.create(manifest)

    async def check() -> bool:
        status = (await client.get(PG_BACKUP, namespace, "huge")).get("status") or {}
        return status.get("state") == "Failed" and "characters are allowed" in status.get("error", "")

    await eventually(check, "the backup is refused")
    await good(client, namespace)


HUGE: dict[str, dict[str, Any]] = {
    "replicas": {"instances": [{"name": "a", "replicas": 300_000, "dataVolumeClaimSpec": claim()}]},
    "sets": {"instances": [{"name": f"s{n}", "dataVolumeClaimSpec": claim()} for n in range(300)]},
    "users": {"users": [{"name": f"u{n}"} for n in range(5000)]},
    "databases": {"users": [{"name": "u", "databases": [f"d{n}" for n in range(5000)]}]},
    "rules": {"authentication": {"rules": [{"connection": "host", "method": "reject"}] * 5000}},
}


@pytest.mark.parametrize("spec", HUGE.values(), ids=HUGE)
async def test_the_definition_refuses_a_huge_number(
    client: Client, namespace: str, crds: None, spec: dict[str, Any]
) -> None:
    await served(client, namespace)
    with pytest.raises(Invalid, match=r"less than or equal|Too many|at most"):
        await client.create(named("huge", namespace, **spec))


TOTALS: dict[str, tuple[dict[str, Any], str]] = {
    "instances": (
        {
            "instances": [
                {"name": f"s{n}", "replicas": 100, "dataVolumeClaimSpec": claim()} for n in range(20)
            ]
        },
        "instances are allowed in total",
    ),
    "parameters": ({"patroni": {"dynamicConfiguration": {f"p{n}": 1 for n in range(20_000)}}}, "entries"),
    "text": ({"patroni": {"dynamicConfiguration": {f"a{n}": "x" * 60_000 for n in range(10)}}}, "of text"),
    "mounts": (
        {
            "instances": [
                {
                    "dataVolumeClaimSpec": claim(),
                    "volumeMounts": [{"name": "a", "mountPath": f"/{n}"} for n in range(10_000)],
                }
            ]
        },
        "entries",
    ),
}


@pytest.mark.parametrize(("spec", "message"), TOTALS.values(), ids=TOTALS)
async def test_an_object_of_any_size_is_refused_alone(
    operator: Manager, client: Client, namespace: str, spec: dict[str, Any], message: str
) -> None:
    await client.create(named("huge", namespace, **spec))
    assert message in await refused(client, namespace, "huge", "TooLarge")
    await good(client, namespace)


async def test_a_status_that_cannot_be_read_hides_no_refusal(
    operator: Manager, client: Client, namespace: str
) -> None:
    await create_raw(client, namespace, PG_CLUSTER.plural, deep("deep", namespace, 70))
    await refused(client, namespace, "deep", "TooLarge")
    # Kubernetes knows the year 0, Python does not.
    condition = {
        "type": "Foreign",
        "status": "True",
        "reason": "X",
        "message": "",
        "lastTransitionTime": YEAR_0,
    }
    patch = {"status": {"conditions": [condition]}}
    await client.merge_patch(PG_CLUSTER, namespace, "deep", patch, subresource="status")
    await client.merge_patch(PG_CLUSTER, namespace, "deep", {"metadata": {"labels": {"a": "b"}}})
    await refused(client, namespace, "deep", "TooLarge")
    await good(client, namespace)


async def test_an_error_that_nobody_expects_is_shown(
    operator: Manager, client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(cluster: str, _: Any) -> None:
        if cluster == "odd":
            raise RecursionError("a secret value")

    monkeypatch.setattr(naming, "check_names", fail)
    with capture_logs():  # without a configuration, structlog takes a second for a traceback
        await client.create(named("odd", namespace))
        message = await refused(client, namespace, "odd", "InternalError")
        uid = uid_of(await client.get(PG_CLUSTER, namespace, "odd"))
        await client.delete(PG_CLUSTER, namespace, "odd", uid=uid)
        await eventually(lambda: not operator.store.keys(PG_CLUSTER), "it is gone")
    assert "RecursionError" in message
    assert "secret" not in message
    await good(client, namespace)
