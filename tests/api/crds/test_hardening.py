"""The samples in manifests/hardening on a real API server: it accepts them, and they do what they promise."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml

from pgoperator import generate, labels, naming
from pgoperator.api import Manifest
from pgoperator.kube import kinds
from pgoperator.kube.access import Access
from pgoperator.kube.client import Client
from pgoperator.kube.errors import ApiError, Forbidden
from pgoperator.kube.manifest import name_of
from reconcilers.pgcluster.instances import build_rbac
from tests.api.conftest import apply, send
from tests.api.crds.conftest import MERGE, Create, client_of
from tests.support.views import view
from tests.unit.api.manifests import backup, cluster, restore

pytestmark = pytest.mark.api
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ROLE = labels.ROLE


def documents(name: str) -> list[Any]:
    return [*yaml.safe_load_all((generate.ROOT / "manifests/hardening" / name).read_text())]


async def test_the_api_server_accepts_the_network_policies(client: Client, namespace: str) -> None:
    path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
    for policy in documents("network-policies.yaml"):
        await send(client, "POST", path, policy, fieldValidation="Strict")


@pytest.fixture
async def database(client: Client, access: Access, namespace: str) -> AsyncIterator[Client]:
    """The account of an instance, in a namespace that the policy guards."""
    for manifest in build_rbac.desired(view()):
        own = manifest | {"metadata": manifest["metadata"] | {"namespace": namespace}}
        for subject in own.get("subjects", []):
            subject["namespace"] = namespace
        await apply(client, kinds.kind_of(manifest).path(namespace, name_of(manifest)), own)
    for manifest in documents("instance-accounts.yaml"):
        plural = (
            "validatingadmissionpolicies"
            if manifest["kind"] == "ValidatingAdmissionPolicy"
            else "validatingadmissionpolicybindings"
        )
        await apply(client, f"{ADMISSION}/{plural}/{name_of(manifest)}", manifest)
    label = {"metadata": {"labels": {"pgv2.percona.com/guard-instances": "true"}}}
    await send(client, "PATCH", f"/api/v1/namespaces/{namespace}", label, MERGE)
    database = await client_of(client, access, namespace, naming.instance_account("cluster1"))
    yield database
    await database.close()


async def test_an_instance_changes_no_image_no_label_and_makes_no_endpoints_of_others(
    database: Client, client: Client, namespace: str
) -> None:
    core = f"/api/v1/namespaces/{namespace}"
    pod = naming.pod(view().planned[0].name)
    container = {"name": "c", "image": "registry.example/theirs:1"}
    own = {labels.CLUSTER: "cluster1", labels.INSTANCE: pod, ROLE: "replica"}
    body: Manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": pod, "labels": own},
        "spec": {"containers": [container], "automountServiceAccountToken": False},
    }
    await apply(client, f"{core}/pods/{pod}", body)

    async def patch(change: Manifest) -> None:
        await send(database, "PATCH", f"{core}/pods/{pod}", change, MERGE)

    async def make(name: str) -> None:
        endpoints = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": name}}
        await send(database, "POST", f"{core}/endpoints", endpoints)

    async def is_guarded() -> bool:
        try:
            await send(
                database,
                "POST",
                f"{core}/endpoints",
                {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "probe"}},
                dryRun="All",
            )
        except ApiError:
            return True
        return False

    # The API server learns of a policy a moment after it is written.
    for _ in range(300):
        if await is_guarded():
            break
        await asyncio.sleep(0.1)

    # What Patroni and the scripts do.
    await patch({"metadata": {"annotations": {"status": "{}"}, "labels": {ROLE: "primary"}}})
    await patch({"metadata": {"labels": {ROLE: None}}})
    for suffix in ("ha", "ha-config", "ha-sync", "ha-failover"):
        await make(f"cluster1-{suffix}")
    await send(
        database,
        "PATCH",
        f"{core}/endpoints/cluster1-ha",
        {"metadata": {"annotations": {"leader": pod}}},
        MERGE,
    )

    evil = {"spec": {"containers": [container | {"image": "registry.example/evil:1"}]}}
    for change in (
        evil,
        {"metadata": {"labels": {labels.CLUSTER: "cluster2"}}},
        {"metadata": {"labels": {labels.INSTANCE: None}}},
        {"metadata": {"labels": {"app": "payments"}}},
    ):
        with pytest.raises(ApiError, match="the account of an instance"):
            await patch(change)
    for name in ("cluster2-ha", "cluster2-ha-failover", "cluster2-ha-config", "payments", "cluster1-primary"):
        with pytest.raises(ApiError, match="only the Endpoints of its own cluster"):
            await make(name)


async def test_the_role_for_backups_gives_backups_only(
    client: Client, access: Access, namespace: str, create: Create
) -> None:
    await create(cluster(), dry=False)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "keeper"}}
    await apply(client, f"/api/v1/namespaces/{namespace}/serviceaccounts/keeper", account)
    for role in documents("tenant-roles.yaml"):
        await apply(client, f"{RBAC}/clusterroles/{name_of(role)}", role)
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "keeper"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "pgoperator-backups",
        },
        "subjects": [{"kind": "ServiceAccount", "name": "keeper", "namespace": namespace}],
    }
    await apply(client, f"{RBAC}/namespaces/{namespace}/rolebindings/keeper", binding)
    keeper = await client_of(client, access, namespace, "keeper")
    own = f"/apis/pgv2.percona.com/v2/namespaces/{namespace}"
    try:
        for _ in range(100):  # the authorizer learns of a role a moment after it is written
            try:
                await send(keeper, "GET", f"{own}/perconapgclusters")
                break
            except Forbidden:
                await asyncio.sleep(0.1)
        wanted = backup()
        wanted["metadata"] = {"name": "now", "namespace": namespace}
        await send(keeper, "POST", f"{own}/perconapgbackups", wanted)
        refused: list[tuple[str, str, Any]] = [
            ("GET", f"/api/v1/namespaces/{namespace}/secrets", None),
            ("POST", f"{own}/perconapgclusters", cluster()),
            ("POST", f"{own}/perconapgrestores", restore()),
            ("PATCH", f"{own}/perconapgclusters/{name_of(cluster())}", {"spec": {"pause": True}}),
            ("DELETE", f"{own}/perconapgbackups/now", None),
        ]
        for verb, path, body in refused:
            with pytest.raises(Forbidden):
                await send(keeper, verb, path, body, MERGE if verb == "PATCH" else "application/json")
    finally:
        await keeper.close()
