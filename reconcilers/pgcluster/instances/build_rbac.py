"""ServiceAccounts, Role and RoleBinding: the Kubernetes permissions of Patroni in the instances. Pure."""

from collections.abc import Iterable

from pgoperator import labels, naming
from pgoperator.kube.manifest import Manifest, name_of
from reconcilers.pgcluster.state.view import View


def desired(view: View) -> list[Manifest]:
    """ServiceAccount, Role and RoleBinding of the instances; ServiceAccount of the repository host."""
    name = naming.instance_account(view.name)
    objects = [_account(view.metadata(name, {})), _role(view, name), _binding(view, name)]
    if view.backups_enabled:
        section = view.cluster.spec.backups.pgbackrest.metadata
        name = naming.pgbackrest(view.name)
        metadata = view.metadata(name, {labels.PGBACKREST: ""}, section, versioned=True)
        objects.append(_account(metadata, automount=False))
    return objects


def _account(metadata: Manifest, *, automount: bool = True) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata,
        "automountServiceAccountToken": automount,
    }


def _role(view: View, name: str) -> Manifest:
    """What Patroni needs. It reads by labels, which Kubernetes cannot limit to names; it writes by name.

    An account that may patch a pod may replace its image, so this one must not reach a pod of anything else.
    """
    reads = ["get", "list", "watch"]
    rules: list[Manifest] = [
        {"apiGroups": [""], "resources": ["endpoints", "pods"], "verbs": reads},
        # Kubernetes does not know the name of an object that is created.
        {"apiGroups": [""], "resources": ["endpoints"], "verbs": ["create"]},
        # Patroni keeps its lock, configuration, list of synchronous members and failover request in
        # Endpoints.
        _patch(
            "endpoints",
            (
                naming.patroni_scope(view.name),
                naming.patroni_config(view.name),
                naming.patroni_sync(view.name),
                naming.patroni_failover(view.name),
            ),
        ),
        _patch("pods", _pods(view)),
    ]
    if view.cluster.spec.openshift:
        # OpenShift requires a separate permission for Endpoints with addresses of pods.
        rules.append({"apiGroups": [""], "resources": ["endpoints/restricted"], "verbs": ["create"]})
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": view.metadata(name, {}),
        "rules": rules,
    }


def _patch(resource: str, names: Iterable[str]) -> Manifest:
    return {"apiGroups": [""], "resources": [resource], "resourceNames": sorted(names), "verbs": ["patch"]}


def _pods(view: View) -> set[str]:
    """The pods of the instances: of those that should exist, and of those that still do."""
    names = {naming.pod(one.name) for one in view.planned}
    names |= {naming.pod(one.name) for one in view.observed.instances if one.stateful_set is not None}
    return names | {name_of(one.pod) for one in view.observed.instances if one.pod is not None}


def _binding(view: View, name: str) -> Manifest:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": view.metadata(name, {}),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": view.namespace}],
    }
