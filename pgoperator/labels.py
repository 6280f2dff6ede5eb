"""Every label, selector, annotation and finalizer, with the prefixes that users' tools select by.

The text below a constant is its row in docs/reference/labels-and-annotations.md (pgoperator/install/keys.py).
"""

from collections.abc import Mapping

CRUNCHY = "postgres-operator.crunchydata.com/"
PERCONA = "pgv2.percona.com/"

CLUSTER = CRUNCHY + "cluster"
"""Label on every object of a cluster, by the operator: name of the PerconaPGCluster."""
INSTANCE = CRUNCHY + "instance"
"""Label on StatefulSets, pods, volume claims, ConfigMaps and Secrets of an instance, by the operator: name
of the instance, which is the name of its StatefulSet.
"""
INSTANCE_SET = CRUNCHY + "instance-set"
"""Label on the same objects and on the set's PodDisruptionBudget, by the operator: name of the set."""
PATRONI = CRUNCHY + "patroni"
"""Label on pods of instances, Patroni's Endpoints and their Services, by the operator and Patroni:
Patroni's scope, `<cluster>-ha`. Patroni finds members and Endpoints by it.
"""
ROLE = CRUNCHY + "role"
"""Label on pods, Services, volume claims, users' Secrets and pgBouncer's objects, by the operator; on pods
of instances Patroni: `primary` or `replica` on a pod of an instance, `pgbouncer` on everything of the
pooler, `pguser` on a user's Secret, `pgdata`, `pgwal`, `tablespace` or `sidecar` on a volume claim.
"""
DATA = CRUNCHY + "data"
"""Label on pods, StatefulSets and volume claims, by the operator: `postgres` for instances, `pgbackrest` for
the repository host; the tablespace's name on its volume claim.
"""
PGUSER = CRUNCHY + "pguser"
"""Label on the Secret of a database user, by the operator: name of the database user."""
CERTIFICATE = CRUNCHY + "cluster-certificate"
"""Label on Secrets with certificates, by the operator: `postgres-tls` or `replication-client-tls`."""
PGBACKREST = CRUNCHY + "pgbackrest"
"""Label on the repository host, its volumes, configuration and Secret, and on the Jobs of backups and
restores, by the operator: empty; marks what belongs to pgBackRest.
"""
PGBACKREST_CONFIG = CRUNCHY + "pgbackrest-config"
"""Label on the ConfigMap with pgBackRest's configuration and on its Secret, by the operator: empty."""
PGBACKREST_DEDICATED = CRUNCHY + "pgbackrest-dedicated"
"""Label on the repository host's StatefulSet and pod, by the operator: empty."""
PGBACKREST_REPO = CRUNCHY + "pgbackrest-repo"
"""Label on the volume claim of a repository and on Jobs of backups, by the operator: name of the repository,
`repo1` to `repo4`.
"""
PGBACKREST_VOLUME = CRUNCHY + "pgbackrest-volume"
"""Label on the volume claim of a repository, by the operator: empty."""
PGBACKREST_BACKUP = CRUNCHY + "pgbackrest-backup"
"""Label on a PerconaPGBackup that the operator created and on its Job, by the operator: why the backup was
taken: `manual`, `scheduled`, `replica-create` or `archive-gap`; `imported` if it was found in the repository.

Annotation on the Job and its pod, by the operator: name of the PerconaPGBackup.

Annotation on a PerconaPGCluster, by the user: a new value asks for one backup as
`spec.backups.pgbackrest.manual` describes it.
"""
PGBACKREST_CRONJOB = CRUNCHY + "pgbackrest-cronjob"
"""Annotation on a scheduled PerconaPGBackup, by the operator: name of the schedule."""
JOB = "batch.kubernetes.io/job-name"
PGBACKREST_RESTORE = CRUNCHY + "pgbackrest-restore"
"""Label on the Job of a restore and its pod, by the operator: empty.

Annotation on the Job of a restore, by the operator: name of the PerconaPGRestore, or `undo` on the Job that
takes the restore back.

Annotation on a PerconaPGCluster, by the user: a new value asks for one restore in place as
`spec.backups.pgbackrest.restore` describes it.
"""
PGBACKREST_RESTORE_CONFIG = CRUNCHY + "pgbackrest-restore-config"
"""Label on the ConfigMap or Secret with which a new cluster reads a repository, by the operator: empty."""
CLONE_SERVER = PERCONA + "clone-server"
"""Label on the Job, its pod and its Secret that serve a repository to a new cluster in another namespace, by
the operator: empty.
"""
CLONE_FOR = PERCONA + "clone-for"
"""Annotation on the same Job, by the operator: namespace, name and UID of the PerconaPGRestore that reads."""
RESTORE_DRILL = PERCONA + "restore-drill"
"""Annotation on a PerconaPGCluster, by the user: a cron expression (UTC) for restore drills.

Label on the Job of a drill, by the operator: empty; as an annotation: what is restored and why, as JSON.
"""
RESTORE_DRILL_NOW = PERCONA + "restore-drill-now"
"""Annotation on a PerconaPGCluster, by the user: a new value asks for one restore drill."""
RESTORE_DRILL_SQL = PERCONA + "restore-drill-sql"
"""Annotation on a PerconaPGCluster, by the user: ConfigMap with SQL for drills, a key for each database."""
MOVE_JOB = CRUNCHY + "move-job"
"""Label on Jobs that copy volumes of `spec.dataSource.volumes`, by the operator: empty; a second label,
`move-<what>-dir`, names the volume.
"""
STARTUP_INSTANCE = CRUNCHY + "startup-instance"
"""Label on the Job of a restore, by the operator: the instance whose volume is restored."""

VERSION = PERCONA + "version"
"""Label on workloads, pods, Jobs, volume claims, ConfigMaps, Secrets and PodDisruptionBudgets of instances,
repositories and pgBouncer, by the operator: the `crVersion` of the cluster; pods follow its template.
"""
CONTROL_PLANE = PERCONA + "control-plane"
"""Label on the operator's Deployment and pod, by the manifests: `postgres-operator`, as with Percona's."""
OVERRIDE_CONFIG = PERCONA + "override-config"
"""Annotation on ConfigMaps, by users of Percona's operator: `true` keeps that operator from writing them."""
BACKUP_IN_PROGRESS = PERCONA + "backup-in-progress"
"""Annotation on a PerconaPGCluster, by Percona's operator: the backup that runs."""
PMM_SECRET_HASH = PERCONA + "pmm-secret-hash"
"""Annotation on pods with a PMM client, by the operator: digest of the token; a new one restarts the pod."""
MONITOR_SECRET_HASH = PERCONA + "monitor-user-secret-hash"
"""Annotation on pods with a PMM client, by the operator: digest of the verifier of the user `monitor`."""

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
"""Annotation on pods, by the operator: the container that `kubectl exec` and `kubectl logs` choose."""
BOOTSTRAP_RESTORE = PERCONA + "cluster-bootstrap-restore"
"""Annotation on a PerconaPGRestore, by the operator: `true` when the restore creates a cluster from
`spec.dataSource`.
"""
REFERENCED = PERCONA + "referenced-hash"
"""Annotation on pods, by the operator: digest of the Secrets and ConfigMaps that the pod's environment
variables come from; the pod restarts when they change.
"""
GENERATED = PERCONA + "generated"
"""Annotation on the Secret of a database user, by the operator: `true` when the operator created the Secret.
Other Secrets are never deleted.
"""
POOLER = PERCONA + "pgbouncer-state"
"""Annotation on pods of pgBouncer, by the operator: `paused` or `running`, as last requested from the pod."""
LAST_PRIMARY = PERCONA + "last-primary"
"""Annotation on the data volume claim of an instance, by the operator: when the instance was stopped as the
primary of a deleted cluster. A new cluster of the name starts with it.
"""
PAUSED_PRIMARY = PERCONA + "paused-primary"
"""Annotation on the data volume claim of an instance, by the operator: when the instance was stopped as the
primary of a paused cluster. It starts first.
"""
SUPERSEDED = PERCONA + "superseded-by-restore"
"""Annotation on the data volume claim of an instance, by the operator: the restore that made the volume's
data obsolete, because no instance used the volume then. No instance uses it again; delete the claim when you
do not need the data, or remove the annotation to use the volume all the same.
"""
AWAITS_DATA = PERCONA + "awaits-data"
"""Annotation on the data volume claim of an instance, by the operator: `true` from the claim's creation while
the cluster waits for the data of `spec.dataSource`, until a primary serves that data. Such a claim is no
sign that a cluster has data, however old it is.
"""
TRIGGER_SWITCHOVER = "trigger-switchover"
"""Annotation on a PerconaPGCluster, by the user: a new value asks for a switchover as
`spec.patroni.switchover` describes it. Works with either prefix.
"""
AUTHORIZE_BACKUP_REMOVAL = PERCONA + "authorizeBackupRemoval"
"""Annotation on a PerconaPGCluster, by the user: `true` lets `spec.backups.enabled: false` take effect,
which removes the repository host. Works with either prefix.
"""
ALLOW_ADOPTION_BY = PERCONA + "allow-adoption-by"
"""Annotation on a Secret without a cluster's label, by its owner: name of the PerconaPGCluster that may take
the Secret over. Without it, the operator never writes a Secret that `spec.users[].secretName` names.
"""
ALLOW_CLONE_FROM = PERCONA + "allow-clone-from"
"""Annotation on a PerconaPGCluster, by the user: names of the namespaces, separated by commas, in which new
clusters may be created from this cluster's backups. Without it, only the cluster's own namespace may.
"""
TAKE_OVER_REPOSITORY = PERCONA + "take-over-repository"
"""Annotation on a PerconaPGCluster, by the user: names of repositories, such as `repo1`, that this cluster
may take over although they belong to another cluster, or hold the backups of another database.
"""
ARCHIVED = PERCONA + "archived"
"""Annotation on pods of instances, by the pod: last WAL pushed to the archive, as JSON."""
ARCHIVE_FAILURE = PERCONA + "archive-failure"
"""Annotation on pods of instances, by the pod: why WAL cannot be pushed, as JSON; absent while it can."""
WRITE_FAILURE = PERCONA + "write-failure"
"""Annotation on the primary's pod, by the pod: why a write is not acknowledged, as JSON; else absent."""
ALTERED = PERCONA + "altered-settings"
"""Annotation on the pod of the primary, by the pod: checksum of the file that `ALTER SYSTEM` writes, since it
was used. The operator then takes back what it must decide itself.
"""
REVISION = "controller-revision-hash"
"""Label on pods of StatefulSets, by Kubernetes: revision of the pod template; the operator replaces pods of
an old revision.
"""
BACKUP_JOB_NAME = PERCONA + "pgbackrest-backup-job-name"
"""Annotation on a PerconaPGBackup, by the operator: name of its Job."""
BACKUP_JOB_TYPE = PERCONA + "pgbackrest-backup-job-type"
"""Annotation on a PerconaPGBackup, by the operator: why the backup was taken: `manual`, `scheduled`,
`replica-create` or `archive-gap`; `imported` if it was found in the repository.
"""
BACKUP_EXPIRED = PERCONA + "expired"
"""Annotation on a PerconaPGBackup, by the operator: `true` when the repository does not hold the backup any
more. Deleting the object then removes no data.
"""
SUPERSEDED = PERCONA + "superseded"
"""Annotation on a cluster's first PerconaPGBackup, by the operator: `true`: no replica can start from it."""
IMPORT_BACKUPS = PERCONA + "import-backups"
"""Annotation on a PerconaPGCluster, by the user: a new value imports the backups that have no object."""
IMPORTED_BACKUP = PERCONA + "imported-backup"
"""Annotation on a PerconaPGBackup, by the operator: label of the backup that it shows; it requests none."""
IMPORTED = "imported"
DELETE_FROM_REPOSITORY = PERCONA + "delete-from-repository"
"""Annotation on a PerconaPGBackup, by the user: `true` has the deletion of the object remove the backup from
its repository. Without it the backup stays.
"""

ACCEPT_WAL_LOSS = PERCONA + "accept-wal-loss"
"""Annotation on a PerconaPGRestore, by the user: `true` lets a restore to the end of the archive go on
although WAL that is not archived will be lost.
"""

FINALIZER = "internal.percona.com/ordered-delete"
"""Finalizer on a PerconaPGCluster, by the operator: pods are stopped in order before the object goes."""
FINALIZER_STOP_WATCHERS = "internal.percona.com/stop-watchers"
"""Finalizer on a PerconaPGCluster, by Percona's operator: that operator manages the cluster, so this one
leaves it alone.
"""
FINALIZER_STOP_WATCHERS_FORMER = "percona.com/stop-watchers"
"""Finalizer on a PerconaPGCluster, by Percona's operator: the same, in its older releases."""
FINALIZER_BACKUP = "internal.percona.com/delete-backup"
"""Finalizer on a PerconaPGBackup, by the operator: the backup is removed from its repository before the
object goes.
"""
FINALIZER_RESTORE = "internal.percona.com/delete-restore"
"""Finalizer on a PerconaPGRestore, by the operator: an unfinished restore is brought to an end before the
object goes.
"""
FINALIZER_DELETE_PVC = "percona.com/delete-pvc"
"""Finalizer on a PerconaPGCluster, by the user: claims and users' Secrets are deleted with the cluster."""
FINALIZER_DELETE_SSL = "percona.com/delete-ssl"
"""Finalizer on a PerconaPGCluster, by the user: Secrets with certificates and pgBouncer's passwords are
deleted with the cluster.
"""
FINALIZER_DELETE_BACKUPS = "percona.com/delete-backups"
"""Finalizer on a PerconaPGCluster, by the user: the backups in all repositories are deleted with it."""

# The selector of the watches: an object of any cluster.
ANY_CLUSTER = CLUSTER


def of_cluster(cluster: str) -> dict[str, str]:
    """Return the label that every object of a cluster has."""
    return {CLUSTER: cluster}


def of_user(wanted: Mapping[str, str]) -> dict[str, str]:
    """Return a user's labels without those by which the operator and Patroni select objects."""
    return {key: value for key, value in wanted.items() if not key.startswith(CRUNCHY)}


def recommended(cluster: str, component: str = "") -> dict[str, str]:
    """Return Kubernetes' recommended labels, with the values of Percona's operator."""
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
    """Return the value of an annotation that requests an action, with either prefix; "" without it.

    If both are set, the prefix of `name` counts, else Percona's. Which value counts must never change: an old
    value would be served again.
    """
    own = CRUNCHY if name.startswith(CRUNCHY) else PERCONA
    bare = name.removeprefix(CRUNCHY).removeprefix(PERCONA)
    prefixes = (own, PERCONA if own == CRUNCHY else CRUNCHY)
    return next((value for prefix in prefixes if (value := annotations.get(prefix + bare))), "")
