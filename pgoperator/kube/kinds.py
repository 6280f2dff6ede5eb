"""Every kind of object this operator reads or writes: the one registry.

A new kind of object of a cluster is an entry here, a rule in `pgoperator.install.rbac`, a builder, and its
line in `reconcilers.pgcluster.pipeline`. Prunable kinds are watched without a further entry.
"""

from pgoperator.kube.manifest import Kind, Manifest

_RBAC = "rbac.authorization.k8s.io/v1"

SECRET = Kind("v1", "Secret", "secrets", rank=0)
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts", rank=1, prunable=True)
PVC = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims", rank=2)
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps", rank=3, prunable=True)
ROLE = Kind(_RBAC, "Role", "roles", rank=4, prunable=True)
ROLE_BINDING = Kind(_RBAC, "RoleBinding", "rolebindings", rank=5, prunable=True)
SERVICE = Kind("v1", "Service", "services", rank=6, prunable=True)
ENDPOINTS = Kind("v1", "Endpoints", "endpoints", rank=7, prunable=True)
POD_DISRUPTION_BUDGET = Kind(
    "policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", rank=8, prunable=True
)
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments", prunable=True)
STATEFUL_SET = Kind("apps/v1", "StatefulSet", "statefulsets", prunable=True)

POD = Kind("v1", "Pod", "pods")
EVENT = Kind("v1", "Event", "events")
JOB = Kind("batch/v1", "Job", "jobs")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
# For Secrets without the label of the operator: existence and changes only, never their content.
SECRET_METADATA = Kind("v1", "SecretMetadata", "secrets", metadata_only=True)

PG_CLUSTER = Kind("pgv2.percona.com/v2", "PerconaPGCluster", "perconapgclusters")
PG_BACKUP = Kind("pgv2.percona.com/v2", "PerconaPGBackup", "perconapgbackups", owner_field="pgCluster")
PG_RESTORE = Kind("pgv2.percona.com/v2", "PerconaPGRestore", "perconapgrestores", owner_field="pgCluster")
PG_UPGRADE = Kind("pgv2.percona.com/v2", "PerconaPGUpgrade", "perconapgupgrades")

BY_NAME: dict[str, Kind] = {
    kind.kind: kind for kind in globals().copy().values() if isinstance(kind, Kind) and not kind.metadata_only
}
PRUNABLE: tuple[Kind, ...] = tuple(kind for kind in BY_NAME.values() if kind.prunable)


def kind_of(manifest: Manifest) -> Kind:
    """Return the Kind of `manifest`; KeyError for a kind that this operator does not use."""
    return BY_NAME[manifest["kind"]]
