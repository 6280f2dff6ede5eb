"""Every label, selector, annotation and finalizer, with the prefixes that users' tools select by."""

from collections.abc import Mapping

CRUNCHY = "postgres-operator.crunchydata.com/"
PERCONA = "pgv2.percona.com/"

CLUSTER = CRUNCHY + "cluster"
INSTANCE = CRUNCHY + "instance"
INSTANCE_SET = CRUNCHY + "instance-set"
PATRONI = CRUNCHY + "patroni"
ROLE = CRUNCHY + "role"
DATA = CRUNCHY + "data"
PGUSER = CRUNCHY + "pguser"
CERTIFICATE = CRUNCHY + "cluster-certificate"
PGBACKREST = CRUNCHY + "pgbackrest"
PGBACKREST_CONFIG = CRUNCHY + "pgbackrest-config"
PGBACKREST_DEDICATED = CRUNCHY + "pgbackrest-dedicated"
PGBACKREST_REPO = CRUNCHY + "pgbackrest-repo"
PGBACKREST_VOLUME = CRUNCHY + "pgbackrest-volume"
PGBACKREST_BACKUP = CRUNCHY + "pgbackrest-backup"
PGBACKREST_CRONJOB = CRUNCHY + "pgbackrest-cronjob"
JOB = "batch.kubernetes.io/job-name"
PGBACKREST_RESTORE = CRUNCHY + "pgbackrest-restore"
PGBACKREST_RESTORE_CONFIG = CRUNCHY + "pgbackrest-restore-config"
MOVE_JOB = CRUNCHY + "move-job"
STARTUP_INSTANCE = CRUNCHY + "startup-instance"

VERSION = PERCONA + "version"
# On the pods of the clients of a PMM server: a digest of its token.
PMM_SECRET_HASH = PERCONA + "pmm-secret-hash"
MONITOR_SECRET_HASH = PERCONA + "monitor-user-secret-hash"

ROLE_PRIMARY = "primary"
ROLE_REPLICA = "replica"
ROLE_PGBOUNCER = "pgbouncer"
ROLE_PGUSER = "pguser"
ROLE_PGDATA = "pgdata"
ROLE_PGWAL = "pgwal"
ROLE_TABLESPACE = "tablespace"
ROLE_SIDECAR = "sidecar"
DATA_POSTGRES = "postgres"
DATA_PGBACKREST = "pgbackrest"

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
BOOTSTRAP_RESTORE = PERCONA + "cluster-bootstrap-restore"
# On a pod: a digest of the Secrets and ConfigMaps that its variables are taken from.
REFERENCED = PERCONA + "referenced-hash"
# On a user's Secret that the operator made; one that it found does not have it.
GENERATED = PERCONA + "generated"
# On a pod of pgBouncer: whether it was last told to hold queries back, or to let them go.
POOLER = PERCONA + "pgbouncer-state"
# On a data volume: when its instance was stopped as the primary of a cluster that was deleted.
LAST_PRIMARY = PERCONA + "last-primary"
# On a data volume: its instance was the primary when the cluster was paused, and starts first.
PAUSED_PRIMARY = PERCONA + "paused-primary"
# On a cluster: a new value asks for a switchover, under either prefix.
TRIGGER_SWITCHOVER = "trigger-switchover"
# What tells a StatefulSet's pods of one template from those of another.
REVISION = "controller-revision-hash"

# On a PerconaPGBackup: its Job, and why it was taken (manual, replica-create, scheduled or archive-gap).
BACKUP_JOB_NAME = PERCONA + "pgbackrest-backup-job-name"
BACKUP_JOB_TYPE = PERCONA + "pgbackrest-backup-job-type"
BACKUP_EXPIRED = PERCONA + "expired"
"""On a PerconaPGBackup that the repository does not hold any more."""

FINALIZER = "internal.percona.com/ordered-delete"
FINALIZER_BACKUP = "internal.percona.com/delete-backup"
FINALIZER_RESTORE = "internal.percona.com/delete-restore"
FINALIZER_DELETE_PVC = "percona.com/delete-pvc"
FINALIZER_DELETE_SSL = "percona.com/delete-ssl"
FINALIZER_DELETE_BACKUPS = "percona.com/delete-backups"

# What the watches select: an object of any cluster of ours.
ANY_CLUSTER = CLUSTER


def of_cluster(cluster: str) -> dict[str, str]:
    """The one label that every object of a cluster carries."""
    return {CLUSTER: cluster}


def of_user(wanted: Mapping[str, str]) -> dict[str, str]:
    """A user's labels without those that we and Patroni select by: they would lead astray."""
    return {key: value for key, value in wanted.items() if not key.startswith(CRUNCHY)}


def recommended(cluster: str, component: str = "") -> dict[str, str]:
    """Kubernetes' recommended labels, with the values that the original gives them."""
    labels = {
        "app.kubernetes.io/name": "percona-postgresql",
        "app.kubernetes.io/instance": cluster,
        "app.kubernetes.io/managed-by": "percona-postgresql-operator",
        "app.kubernetes.io/part-of": "percona-postgresql",
    }
    if component:
        labels["app.kubernetes.io/component"] = component
    return labels


def instance(cluster: str, set_name: str, name: str) -> dict[str, str]:
    """Selector of one instance."""
    return {CLUSTER: cluster, INSTANCE_SET: set_name, INSTANCE: name}


def pgbouncer(cluster: str) -> dict[str, str]:
    """Selector of the pgBouncer pods."""
    return {CLUSTER: cluster, ROLE: ROLE_PGBOUNCER}


def repo_host(cluster: str) -> dict[str, str]:
    """Selector of the repository host."""
    return {CLUSTER: cluster, PGBACKREST: "", PGBACKREST_DEDICATED: "", DATA: DATA_PGBACKREST}


def pguser(cluster: str, user: str) -> dict[str, str]:
    """Selector of a user's Secret."""
    return {CLUSTER: cluster, ROLE: ROLE_PGUSER, PGUSER: user}


def request(annotations: Mapping[str, str], name: str) -> str:
    """Value of an annotation that asks for something, under either of the two prefixes; "" for none."""
    return annotations.get(name) or annotations.get(PERCONA + name.removeprefix(CRUNCHY)) or ""
