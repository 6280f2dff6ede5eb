"""Accounts and rights inside Kubernetes: what Patroni in the instances may do, and nothing more."""

from pgoperator import naming
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.view import View


def desired(view: View) -> list[Manifest]:
    """ServiceAccount, Role and RoleBinding of the instances; ServiceAccount of the repository host."""
    name = naming.instance_account(view.name)
    objects = [_account(view, name), _role(view, name), _binding(view, name)]
    if view.cluster.spec.backups.enabled:
        objects.append(_account(view, naming.pgbackrest(view.name), automount=False))
    return objects


def _account(view: View, name: str, *, automount: bool = True) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": view.metadata(name, {}),
        "automountServiceAccountToken": automount,
    }


def _role(view: View, name: str) -> Manifest:
    rules: list[Manifest] = [
        # Patroni's lock, configuration, failover request and list of synchronous members are Endpoints.
        {
            "apiGroups": [""],
            "resources": ["endpoints"],
            "verbs": ["create", "get", "list", "patch", "watch"],
        },
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "patch", "watch"]},
    ]
    if view.cluster.spec.openshift:
        # OpenShift guards Endpoints that hold pod addresses by a resource of its own.
        rules.append({"apiGroups": [""], "resources": ["endpoints/restricted"], "verbs": ["create"]})
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": view.metadata(name, {}),
        "rules": rules,
    }


def _binding(view: View, name: str) -> Manifest:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": view.metadata(name, {}),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": view.namespace}],
    }
