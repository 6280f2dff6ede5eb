"""A real API server accepts our CRDs, and with them every field that Percona Operator has."""

import asyncio
import re
import subprocess
from typing import Any

import pytest
import yaml

from local import control_plane as planes
from pgoperator import generate
from pgoperator.api import KINDS, Manifest, PGBackup, PGCluster, PGRestore, PGUpgrade
from pgoperator.api.base import Resource
from pgoperator.api.crd import crd
from pgoperator.api.ignored import IGNORED, ignored_fields
from pgoperator.kube.client import Client
from tests.api.conftest import CRDS, apply, send
from tests.api.crds.conftest import Create, refused
from tests.support.samples import sample
from tests.unit.api.manifests import backup, cluster, restore

pytestmark = pytest.mark.api

SAMPLES: dict[str, type[Resource]] = {
    "cluster": PGCluster,
    "every-field": PGCluster,
    "backup": PGBackup,
    "restore": PGRestore,
    "upgrade": PGUpgrade,
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.NAMES.kind)
async def test_a_crd_is_established_and_structural(client: Client, crds: None, kind: type[Resource]) -> None:
    stored = await send(client, "GET", f"{CRDS}/{kind.NAMES.plural}.pgv2.percona.com")
    conditions = {condition["type"]: condition["status"] for condition in stored["status"]["conditions"]}
    assert conditions.get("NonStructuralSchema", "False") == "False"
    assert conditions["NamesAccepted"] == "True"
    assert stored["metadata"]["labels"] == {"pgv2.percona.com/version": "v3.1.0"}
    assert stored["spec"]["versions"][0]["subresources"] == {"status": {}}
    # The server normalises schemas; ours must come back unchanged.
    assert stored["spec"]["versions"][0]["schema"] == crd(kind)["spec"]["versions"][0]["schema"]


async def test_plain_kubectl_apply_takes_the_bundle(
    control_plane: planes.Handle, client: Client, namespace: str
) -> None:
    """Client-side apply keeps a copy of each object in an annotation, which has a limit."""
    path = generate.ROOT / "manifests" / "bundle.yaml"
    arguments = ["--namespace", namespace, "--dry-run=server", "-f", str(path)]
    command = ["kubectl", f"--kubeconfig={control_plane.kubeconfig}", "apply", *arguments]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SAMPLES)
async def test_a_sample_is_accepted(create: Create, name: str) -> None:
    manifest = sample(name)
    stored = await create(manifest)
    assert SAMPLES[name].parse(stored).name == manifest["metadata"]["name"]
    # The server adds defaults, and nothing that was sent is lost or changed.
    assert covers(stored["spec"], manifest["spec"])


def covers(stored: Any, sent: Any) -> bool:
    """Return whether the stored value contains the sent value."""
    if isinstance(sent, dict):
        return stored.keys() >= sent.keys() and all(covers(stored[key], sent[key]) for key in sent)
    if isinstance(sent, list):
        return len(stored) == len(sent) and all(map(covers, stored, sent))
    return stored == sent


async def test_every_field_of_the_sample_is_accepted_at_once(create: Create) -> None:
    stored = await create(sample("every-field"))
    read = PGCluster.parse(stored)
    assert read.spec.instances[0].extra_volumes[0].mounts[0].mount_path == "/pgdata/words"
    named = {re.sub(r"\[\d+\]", "[]", path) for path in ignored_fields(stored)}
    assert named == set(IGNORED)


async def test_the_example_is_accepted(create: Create) -> None:
    file = generate.ROOT / "manifests" / "examples" / "cluster1.yaml"
    stored = await create(yaml.safe_load(file.read_text()))
    assert PGCluster.parse(stored).spec.replicas == 3


async def test_the_server_writes_the_defaults(create: Create) -> None:
    stored = await create(
        cluster(patroni={}, proxy={"pgBouncer": {}}, tls={}, users=[{"name": "a", "password": {}}])
    )
    spec = stored["spec"]
    assert spec["port"] == 5432
    assert spec["patroni"] == {"leaderLeaseDurationSeconds": 30, "port": 8008, "syncPeriodSeconds": 10}
    assert spec["proxy"]["pgBouncer"] == {"port": 5432, "replicas": 1}
    assert spec["tls"] == {"certManagementPolicy": "auto"}
    assert spec["users"][0]["password"] == {"type": "ASCII"}
    assert spec["instances"][0]["replicas"] == 1
    # Defaults that only the operator applies are not stored.
    assert "autoCreateUserSchema" not in spec
    assert "enabled" not in spec["backups"]
    assert "expose" not in spec


async def test_ports_of_sidecars_differ_by_protocol(create: Create) -> None:
    ports: list[Manifest] = [{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}]
    manifest = cluster()
    manifest["spec"]["instances"][0]["sidecars"] = [{"name": "dns", "image": "dns", "ports": ports}]
    stored = await create(manifest)
    assert stored["spec"]["instances"][0]["sidecars"][0]["ports"][0]["protocol"] == "TCP"
    ports[1]["protocol"] = "TCP"
    await refused(create(manifest), "Duplicate value")


async def test_a_free_form_object_keeps_everything(create: Create) -> None:
    configuration = {
        "slots": {"a": {"type": "logical", "x": [1, {"y": 2.5}]}},
        "postgresql": {"use_slots": True},
    }
    stored = await create(cluster(patroni={"dynamicConfiguration": configuration}))
    assert stored["spec"]["patroni"]["dynamicConfiguration"] == configuration


@pytest.mark.parametrize("amount", ["1", 1, 1.0, "100m", "1.5Gi", "1e3", "+.5", "12E"])
async def test_amounts_are_accepted(create: Create, amount: Any) -> None:
    manifest = cluster(standby={"maxAcceptableLag": "1Gi"})
    manifest["spec"]["instances"][0]["resources"] = {"limits": {"memory": amount}}
    stored = await create(manifest)
    assert stored["spec"]["instances"][0]["resources"] == {"limits": {"memory": amount}}
    assert stored["spec"]["standby"]["maxAcceptableLag"] == "1Gi"


async def test_status_is_a_subresource(client: Client, create: Create, namespace: str) -> None:
    await create(cluster(), dry=False)
    path = f"/apis/pgv2.percona.com/v2/namespaces/{namespace}/perconapgclusters/hippo"
    status = {
        "state": "ready",
        "host": "h",
        "postgres": {"size": 3, "ready": 3, "instances": [{"name": "one", "size": 3, "ready": 3}]},
        "pgbouncer": {"size": 1, "ready": 1},
        "pgbackrest": {"repos": [{"name": "repo1", "bound": True}], "repoHost": {"ready": True}},
        "observedGeneration": 1,
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "AllGood",
                "message": "",
                "lastTransitionTime": "2026-01-02T03:04:05Z",
                "observedGeneration": 1,
            }
        ],
    }
    body = {"apiVersion": "pgv2.percona.com/v2", "kind": "PerconaPGCluster", "metadata": {"name": "hippo"}}
    stored = await apply(client, f"{path}/status", body | {"status": status})
    assert stored["status"] == status
    assert PGCluster.parse(stored).status.to_manifest() == status
    assert stored["metadata"]["generation"] == 1


async def test_kubectl_get_prints_the_columns(
    control_plane: planes.Handle, create: Create, namespace: str
) -> None:
    await create(cluster(), dry=False)
    await create(backup(), dry=False)
    await create(restore(), dry=False)

    async def header(*what: str) -> list[str]:
        command = [
            "kubectl",
            f"--kubeconfig={control_plane.kubeconfig}",
            "get",
            *what,
            "--namespace",
            namespace,
        ]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[0].split()

    assert await header("pg") == ["NAME", "ENDPOINT", "STATUS", "POSTGRES", "PGBOUNCER", "AGE"]
    assert (await header("pg", "--output=wide"))[-3:] == ["AGE", "VERSION", "MESSAGE"]
    assert await header("pg-backup") == [
        *("NAME", "CLUSTER", "REPO", "DESTINATION", "STATUS", "TYPE", "COMPLETED", "AGE"),
    ]
    assert await header("pg-restore") == ["NAME", "CLUSTER", "STATUS", "COMPLETED", "AGE"]
