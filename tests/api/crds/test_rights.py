"""The operator's account may do what the operator does, and not more."""

import ssl

import pytest
import yaml

from pgoperator import generate
from pgoperator.kube.access import Access
from pgoperator.kube.client import Client
from pgoperator.kube.errors import Forbidden
from tests.api.crds.conftest import CRDS, apply, send
from tests.unit.api.manifests import cluster

pytestmark = pytest.mark.api


@pytest.fixture
async def operator(client, access, namespace, crds):
    """A client with the rights of the namespaced variant, and nothing else."""
    documents = yaml.safe_load_all((generate.ROOT / "manifests" / "rbac.yaml").read_text())
    account, role, binding = documents
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    core = f"/api/v1/namespaces/{namespace}"
    name = account["metadata"]["name"]
    await apply(client, f"{core}/serviceaccounts/{name}", account)
    await apply(client, f"{rbac}/roles/{name}", role)
    await apply(client, f"{rbac}/rolebindings/{name}", binding)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = await send(client, "POST", f"{core}/serviceaccounts/{name}/token", request)

    async def token(refresh):
        return f"Bearer {answer['status']['token']}"

    # Without the certificate of the administrator, which is part of the other client's TLS context.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    operator = Client(Access(access.server, context, token))
    yield operator
    await operator.close()


async def test_the_operator_may_grant_what_pods_need(operator, namespace):
    """The API server lets nobody grant a right that they do not have."""
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "hippo-instance"},
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["endpoints"],
                "verbs": ["create", "get", "list", "patch", "watch"],
            },
            {"apiGroups": [""], "resources": ["endpoints/restricted"], "verbs": ["create"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "patch", "watch"]},
            {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]},
            {"apiGroups": [""], "resources": ["services"], "verbs": ["create"]},
        ],
    }
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles"
    await apply(operator, f"{roles}/hippo-instance", role)
    role["rules"][2]["verbs"].append("update")
    with pytest.raises(Forbidden):
        await apply(operator, f"{roles}/hippo-instance", role)


async def test_the_operator_may_not_leave_its_namespace(operator, namespace):
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


async def test_the_operator_writes_status_but_neither_makes_nor_deletes_clusters(operator, create, namespace):
    await create(cluster(), dry=False)
    path = f"/apis/pgv2.percona.com/v2/namespaces/{namespace}/perconapgclusters"
    body = {"apiVersion": "pgv2.percona.com/v2", "kind": "PerconaPGCluster", "metadata": {"name": "hippo"}}
    await apply(operator, f"{path}/hippo/status", body | {"status": {"state": "initializing"}})
    finalizers = {"metadata": {"finalizers": ["internal.percona.com/test"]}}
    await send(operator, "PATCH", f"{path}/hippo", finalizers, "application/merge-patch+json")
    with pytest.raises(Forbidden):
        await send(operator, "DELETE", f"{path}/hippo")
    with pytest.raises(Forbidden):
        await send(operator, "POST", path, cluster() | {"metadata": {"name": "other"}})
