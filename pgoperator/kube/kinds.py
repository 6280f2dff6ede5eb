"""Every kind of object this operator reads or writes."""

from pgoperator.kube.manifest import Kind, Manifest

POD = Kind("v1", "Pod", "pods")
SECRET = Kind("v1", "Secret", "secrets")
# Of Secrets that are not ours: that they exist and change, not what is in them.
SECRET_METADATA = Kind("v1", "SecretMetadata", "secrets", metadata_only=True)
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
SERVICE = Kind("v1", "Service", "services")
ENDPOINTS = Kind("v1", "Endpoints", "endpoints")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
PVC = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
EVENT = Kind("v1", "Event", "events")
STATEFUL_SET = Kind("apps/v1", "StatefulSet", "statefulsets")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
POD_DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
ROLE = Kind("rbac.authorization.k8s.io/v1", "Role", "roles")
ROLE_BINDING = Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings")
JOB = Kind("batch/v1", "Job", "jobs")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")

PG_CLUSTER = Kind("pgv2.percona.com/v2", "PerconaPGCluster", "perconapgclusters")
PG_BACKUP = Kind("pgv2.percona.com/v2", "PerconaPGBackup", "perconapgbackups")
PG_RESTORE = Kind("pgv2.percona.com/v2", "PerconaPGRestore", "perconapgrestores")
PG_UPGRADE = Kind("pgv2.percona.com/v2", "PerconaPGUpgrade", "perconapgupgrades")

BY_NAME: dict[str, Kind] = {
    kind.kind: kind
    for kind in (
        *(POD, SECRET, CONFIG_MAP, SERVICE, ENDPOINTS, SERVICE_ACCOUNT, PVC, EVENT),
        *(STATEFUL_SET, DEPLOYMENT, POD_DISRUPTION_BUDGET, ROLE, ROLE_BINDING, JOB, LEASE),
        *(PG_CLUSTER, PG_BACKUP, PG_RESTORE, PG_UPGRADE),
    )
}


def kind_of(manifest: Manifest) -> Kind:
    """Return the Kind that addresses `manifest`; KeyError for one this operator has nothing to do with."""
    return BY_NAME[manifest["kind"]]
