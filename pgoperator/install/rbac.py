"""What the operator may do: every permission with its reason, and none with a wildcard."""

from dataclasses import dataclass

from pgoperator.api import GROUP, Manifest

NAME = "percona-postgresql-operator"
CLUSTER_WIDE_NAMESPACE = "postgres-operator"
"""Where the cluster-wide variant is installed: a ClusterRoleBinding must name the namespace."""

OWN = ("create", "delete", "get", "list", "patch", "watch")
_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Rule:
    """One permission and why the operator has it."""

    why: str
    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]

    def manifest(self) -> Manifest:
        """Give the rule as Kubernetes wants it."""
        return {
            "apiGroups": [self.group],
            "resources": sorted(self.resources),
            "verbs": sorted(self.verbs),
        }


# Nobody acts on the others yet.
_ACTED_ON = ("perconapgbackups", "perconapgclusters", "perconapgrestores")


def _ours(suffix: str) -> tuple[str, ...]:
    return tuple(plural + suffix for plural in _ACTED_ON)


RULES: tuple[Rule, ...] = (
    Rule(
        "What a cluster consists of.",
        "",
        ("configmaps", "persistentvolumeclaims", "secrets", "serviceaccounts", "services"),
        OWN,
    ),
    Rule(
        "Endpoints hold Patroni's leader lock and configuration. The operator grants a cluster's pods these "
        "rights, so it must have them itself.",
        "",
        ("endpoints",),
        OWN,
    ),
    Rule(
        "The same on OpenShift, which guards Endpoints with addresses of pods.",
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
        "Commands in pods. Up to Kubernetes 1.34 a websocket asks for get, from 1.35 on for create.",
        "",
        ("pods/exec",),
        ("create", "get"),
    ),
    Rule(
        "What happened, for `kubectl describe`; why a backup's Job gets no pod, which only an Event tells.",
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
    Rule("How many pods a drain of nodes must leave.", "policy", ("poddisruptionbudgets",), OWN),
    Rule(
        "Rights of a cluster's pods; Kubernetes lets the operator grant only what it has itself.",
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
        "The same; the operator asks for first and scheduled backups, and deletes what a repository gave up.",
        GROUP,
        ("perconapgbackups",),
        OWN,
    ),
    Rule(
        "The same; a restore that a cluster asks for itself is the operator's, for a person to follow.",
        GROUP,
        ("perconapgrestores",),
        ("create", "get", "list", "patch", "watch"),
    ),
    Rule("What the operator reports.", GROUP, _ours("/status"), ("patch",)),
    Rule(
        "Owner references that block deletion, where the admission plugin for them is on (OpenShift).",
        GROUP,
        _ours("/finalizers"),
        ("update",),
    ),
)


def labels() -> dict[str, str]:
    """Labels of everything that belongs to the operator itself."""
    return {
        "app.kubernetes.io/component": "operator",
        "app.kubernetes.io/instance": NAME,
        "app.kubernetes.io/name": NAME,
        "app.kubernetes.io/part-of": NAME,
        "pgv2.percona.com/control-plane": "postgres-operator",
    }


def service_account() -> Manifest:
    """Build the account under which the operator runs."""
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
    """Let the operator ask whose a token is and what its owner may; a role for readers of the metrics."""
    delegate, reader = f"{NAME}-metrics-auth", f"{NAME}-metrics-reader"
    return [
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": delegate, "labels": labels()},
            # Of Kubernetes itself: to create TokenReviews and SubjectAccessReviews, no more.
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
