"""The operator's account has the permissions that the operator needs, and no more."""

from typing import Any

import pytest

from pgoperator import naming
from pgoperator.api import Manifest
from pgoperator.kube import kinds
from pgoperator.kube.access import Access
from pgoperator.kube.client import Client
from pgoperator.kube.errors import Forbidden
from pgoperator.kube.manifest import name_of
from reconcilers.pgcluster.instances import build_rbac
from tests.api.conftest import CRDS, apply, send
from tests.api.crds.conftest import MERGE, Create, client_of
from tests.support.views import view
from tests.unit.api.manifests import cluster

pytestmark = pytest.mark.api


async def test_the_operator_may_grant_what_pods_need(operator: Client, namespace: str) -> None:
    """The API server does not let an account grant permissions that it does not have."""
    role: Manifest = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "hippo-instance"},
        "rules": [
            *_role_of_instances(openshift=True)["rules"],
            {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]},
            {"apiGroups": [""], "resources": ["services"], "verbs": ["create"]},
        ],
    }
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles"
    await apply(operator, f"{roles}/hippo-instance", role)
    role["rules"][0]["verbs"].append("update")
    with pytest.raises(Forbidden):
        await apply(operator, f"{roles}/hippo-instance", role)


def _role_of_instances(**spec: Any) -> Manifest:
    return next(one for one in build_rbac.desired(view(**spec)) if one["kind"] == "Role")


async def test_a_database_pod_reaches_no_pod_of_anything_else(
    client: Client, access: Access, namespace: str
) -> None:
    """An account that may patch a pod may replace its image: the operator's, or that of another cluster."""
    core = f"/api/v1/namespaces/{namespace}"
    for manifest in build_rbac.desired(view()):
        kind = kinds.kind_of(manifest)
        own = manifest | {"metadata": manifest["metadata"] | {"namespace": namespace}}
        for subject in own.get("subjects", []):
            subject["namespace"] = namespace
        await apply(client, kind.path(namespace, name_of(manifest)), own)
    (_, patched) = (
        rule["resourceNames"] for rule in _role_of_instances()["rules"] if "resourceNames" in rule
    )
    container = {"name": "c", "image": "registry.example/theirs:1"}
    for pod in (*patched, "pgoperator-0", "cluster2-instance1-bcdf-0"):
        await apply(client, f"{core}/pods/{pod}", _pod(pod, container))
    for endpoints in ("cluster1-ha", "cluster2-ha", "cluster2-ha-config"):
        empty: Manifest = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": endpoints}}
        await apply(client, f"{core}/endpoints/{endpoints}", empty)

    database = await client_of(client, access, namespace, naming.instance_account("cluster1"))
    try:
        evil = {"spec": {"containers": [container | {"image": "registry.example/evil:1"}]}}
        annotation = {"metadata": {"annotations": {"status": "{}"}}}
        for pod in patched:
            await send(database, "PATCH", f"{core}/pods/{pod}", annotation, MERGE)
        await send(database, "PATCH", f"{core}/endpoints/cluster1-ha", annotation, MERGE)
        await send(database, "GET", f"{core}/pods?labelSelector=a%3Db")
        await send(database, "GET", f"{core}/endpoints?labelSelector=a%3Db")
        for path in (
            "pods/pgoperator-0",
            "pods/cluster2-instance1-bcdf-0",
            "endpoints/cluster2-ha",
            "endpoints/cluster2-ha-config",
            "services/cluster1-primary",
        ):
            for body in (evil, annotation):
                with pytest.raises(Forbidden):
                    await send(database, "PATCH", f"{core}/{path}", body, MERGE)
        for path in ("secrets", "configmaps"):
            with pytest.raises(Forbidden):
                await send(database, "GET", f"{core}/{path}")
        with pytest.raises(Forbidden):
            await send(database, "POST", f"{core}/pods", _pod("another", container))
    finally:
        await database.close()


def _pod(name: str, container: Manifest) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container], "automountServiceAccountToken": False},
    }


async def test_the_operator_may_not_leave_its_namespace(operator: Client, namespace: str) -> None:
    await send(operator, "GET", f"/api/v1/namespaces/{namespace}/secrets")
    for path in (
        "/api/v1/secrets",
        "/api/v1/namespaces/kube-system/secrets",
        "/api/v1/nodes",
        CRDS,
        "/apis/pgv2.percona.com/v2/perconapgclusters",
    ):
        with pytest.raises(Forbidden):
            await send(operator, "GET", path)


async def test_the_operator_writes_status_but_neither_makes_nor_deletes_clusters(
    operator: Client, create: Create, namespace: str
) -> None:
    await create(cluster(), dry=False)
    path = f"/apis/pgv2.percona.com/v2/namespaces/{namespace}/perconapgclusters"
    body = {"apiVersion": "pgv2.percona.com/v2", "kind": "PerconaPGCluster", "metadata": {"name": "hippo"}}
    await apply(operator, f"{path}/hippo/status", body | {"status": {"state": "initializing"}})
    finalizers = {"metadata": {"finalizers": ["internal.percona.com/test"]}}
    await send(operator, "PATCH", f"{path}/hippo", finalizers, MERGE)
    with pytest.raises(Forbidden):
        await send(operator, "DELETE", f"{path}/hippo")
    with pytest.raises(Forbidden):
        await send(operator, "POST", path, cluster() | {"metadata": {"name": "other"}})
