"""Permissions of the operator, each with its reason, none with a wildcard."""

from dataclasses import dataclass

from pgoperator.api import GROUP, Manifest
from pgoperator.labels import CONTROL_PLANE

NAME = "percona-postgresql-operator"
CLUSTER_WIDE_NAMESPACE = "postgres-operator"
"""Namespace of the cluster-wide variant: a ClusterRoleBinding must name the namespace."""

OWN = ("create", "delete", "get", "list", "patch", "watch")
_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Rule:
    """One permission and the reason for it."""

    why: str
    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]

    def manifest(self) -> Manifest:
        """Return the rule in the form of Kubernetes."""
        return {
            "apiGroups": [self.group],
            "resources": sorted(self.resources),
            "verbs": sorted(self.verbs),
        }


# PerconaPGUpgrade is not implemented yet.
_ACTED_ON = ("perconapgbackups", "perconapgclusters", "perconapgrestores")


def _ours(suffix: str) -> tuple[str, ...]:
    return tuple(plural + suffix for plural in _ACTED_ON)


RULES: tuple[Rule, ...] = (
    Rule(
        "The objects of a cluster.",
        "",
        ("configmaps", "persistentvolumeclaims", "secrets", "serviceaccounts", "services"),
        OWN,
    ),
    Rule(
        "Endpoints hold Patroni's leader lock and configuration. The operator grants these rights to a "
        "cluster's pods, so it must have them itself.",
        "",
        ("endpoints",),
        OWN,
    ),
    Rule(
        "The same on OpenShift, which restricts Endpoints that contain addresses of pods.",
        "",
        ("endpoints/restricted",),
        ("create",),
    ),
    Rule(
        "Pods are observed, labelled (which the operator grants to Patroni) and restarted; StatefulSets and "
        "Deployments create them.",
        "",
        ("pods",),
        ("delete", "get", "list", "patch", "watch"),
    ),
    Rule(
        "Commands in pods. A websocket needs get up to Kubernetes 1.34, and create from 1.35 on.",
        "",
        ("pods/exec",),
        ("create", "get"),
    ),
    Rule(
        "Events for `kubectl describe`; the reason why a backup's Job gets no pod is only in an Event.",
        "",
        ("events",),
        ("create", "list", "patch"),
    ),
    Rule(
        "Instances and the repository host; the connection pooler.",
        "apps",
        ("deployments", "statefulsets"),
        OWN,
    ),
    Rule("Backups and restores.", "batch", ("jobs",), OWN),
    Rule(
        "Leader election, and one backup of a cluster at a time.",
        "coordination.k8s.io",
        ("leases",),
        OWN,
    ),
    Rule(
        "Number of pods that must stay available while nodes are drained.",
        "policy",
        ("poddisruptionbudgets",),
        OWN,
    ),
    Rule(
        "Rights of a cluster's pods. Kubernetes lets the operator grant only rights that it has itself.",
        _RBAC,
        ("rolebindings", "roles"),
        OWN,
    ),
    Rule(
        "The custom resources. Users create them; the operator writes annotations and finalizers.",
        GROUP,
        ("perconapgclusters",),
        ("get", "list", "patch", "watch"),
    ),
    Rule(
        "The same; the operator creates first and scheduled backups, and deletes those that have expired.",
        GROUP,
        ("perconapgbackups",),
        OWN,
    ),
    Rule(
        "The same; the operator creates a restore for `spec.dataSource` and for the restore annotation.",
        GROUP,
        ("perconapgrestores",),
        ("create", "get", "list", "patch", "watch"),
    ),
    Rule(
        "The inner resource of Percona's operator, read when a takeover is planned.",
        "upstream.pgv2.percona.com",
        ("postgresclusters",),
        ("get",),
    ),
    Rule(
        "The same resource of Percona's operator 2.x and of Crunchy's operator.",
        "postgres-operator.crunchydata.com",
        ("postgresclusters",),
        ("get",),
    ),
    Rule("The status that the operator reports.", GROUP, _ours("/status"), ("patch",)),
    Rule(
        "Owner references that block deletion, where the admission plugin for them is on (OpenShift).",
        GROUP,
        _ours("/finalizers"),
        ("update",),
    ),
)


def labels() -> dict[str, str]:
    """Return the labels of the operator's own objects."""
    return {
        "app.kubernetes.io/component": "operator",
        "app.kubernetes.io/instance": NAME,
        "app.kubernetes.io/name": NAME,
        "app.kubernetes.io/part-of": NAME,
        CONTROL_PLANE: "postgres-operator",
    }


def service_account() -> Manifest:
    """Build the service account of the operator."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata()}


def role(*, cluster_wide: bool) -> Manifest:
    """Build the Role of the operator, or its ClusterRole."""
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRole" if cluster_wide else "Role",
        "metadata": _metadata(),
        "rules": [rule.manifest() for rule in RULES],
    }


def binding(*, cluster_wide: bool) -> Manifest:
    """Bind the role to the account; a RoleBinding takes the account from its own namespace."""
    subject = {"kind": "ServiceAccount", "name": NAME}
    if cluster_wide:
        subject["namespace"] = CLUSTER_WIDE_NAMESPACE
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRoleBinding" if cluster_wide else "RoleBinding",
        "metadata": _metadata(),
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole" if cluster_wide else "Role", "name": NAME},
        "subjects": [subject],
    }


def _metadata() -> Manifest:
    return {"name": NAME, "labels": labels()}


def secure_metrics() -> list[Manifest]:
    """Build the right to review tokens and access, and a role for readers of the metrics."""
    delegate, reader = f"{NAME}-metrics-auth", f"{NAME}-metrics-reader"
    return [
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": delegate, "labels": labels()},
            # A role of Kubernetes: create TokenReviews and SubjectAccessReviews, nothing else.
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "system:auth-delegator"},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": CLUSTER_WIDE_NAMESPACE}],
        },
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": reader, "labels": labels()},
            "rules": [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}],
        },
    ]
