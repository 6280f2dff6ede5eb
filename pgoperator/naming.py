"""Every name of an object that a cluster owns, and every path and port that two places must agree on.

Names are those of Percona Operator v2, so existing tools find the objects. A function takes the name of the
cluster or of the instance and returns the name of the object. `check_names` verifies that Kubernetes accepts
all names that are derived from the cluster.
"""

import hashlib
import re
from collections.abc import Iterator

from pgoperator.errors import InvalidSpec

# No vowels, so no words; no digits that look like letters.
ALPHABET = "bcdfghjklmnpqrstvwxz2456789"

# A StatefulSet's pods carry `<name>-<10 characters>` as a label value of at most 63 characters.
STATEFUL_SET_MAX = 52
# An instance's StatefulSet is called `<cluster>-<set>-<4 characters>`.
CLUSTER_AND_SET_MAX = STATEFUL_SET_MAX - 6
# The longest suffix of a StatefulSet of the cluster's own is that of `<cluster>-repo-host`.
CLUSTER_MAX = STATEFUL_SET_MAX - len("-repo-host")

# The cluster's name is a prefix of its Services' names (RFC 1035): no leading digit, no dot.
_SERVICE_NAME = re.compile("[a-z][-a-z0-9]*")

POSTGRES_PORT_NAME = "postgres"
PATRONI_PORT_NAME = "patroni"
PGBOUNCER_PORT_NAME = "pgbouncer"
PGBACKREST_PORT_NAME = "pgbackrest"

DATABASE_CONTAINER = "database"
PGBACKREST_CONTAINER = "pgbackrest"
PGBOUNCER_CONTAINER = "pgbouncer"
PMM_CONTAINER = "pmm-client"

REPLICATION_USER = "_crunchyrepl"
POOLER_USER = "_crunchypgbouncer"
MONITOR_USER = "monitor"
POOLER_ADMIN = "_crunchypgbounceradmin"

STANZA = "db"

SCRIPTS_PATH = "/opt/pgoperator"
TLS_PATH = "/pgconf/tls"
PATRONI_PATH = "/etc/patroni"
SOCKET_PATH = "/tmp/postgres"  # noqa: S108 - a path inside the pod's own emptyDir
WATCHDOG_PIPE = f"{SOCKET_PATH}.watchdog"
DATA_PATH = "/pgdata"
WAL_PATH = "/pgwal"
TABLESPACES_PATH = "/tablespaces"
POSTGRES_CONF_PATH = "/etc/postgres"
PGBACKREST_CONF_PATH = "/etc/pgbackrest/conf.d"
PGBACKREST_SERVER_PATH = "/etc/pgbackrest/server"
PGBOUNCER_CONF_PATH = "/etc/pgbouncer"


def data_directory(major: int) -> str:
    """PGDATA of a major version."""
    return f"{DATA_PATH}/pg{major}"


def wal_directory(major: int) -> str:
    """Directory of a major version's write-ahead log on a separate WAL volume."""
    return f"{WAL_PATH}/pg{major}_wal"


def pods(cluster: str) -> str:
    """Headless Service that gives every pod its DNS name."""
    return f"{cluster}-pods"


def patroni_scope(cluster: str) -> str:
    """Patroni's scope: Service and Endpoints of the leader, and the value of the label `patroni`."""
    return f"{cluster}-ha"


def patroni_config(cluster: str) -> str:
    """Service and Endpoints in which Patroni keeps its dynamic configuration."""
    return f"{cluster}-ha-config"


def patroni_sync(cluster: str) -> str:
    """Endpoints in which Patroni keeps the list of its synchronous members."""
    return f"{cluster}-ha-sync"


def patroni_failover(cluster: str) -> str:
    """Endpoints in which Patroni keeps a requested failover, until it has taken place."""
    return f"{cluster}-ha-failover"


def primary(cluster: str) -> str:
    """Service (and Endpoints) under which clients reach the primary."""
    return f"{cluster}-primary"


def replicas(cluster: str) -> str:
    """Service of the replicas."""
    return f"{cluster}-replicas"


def pgbouncer(cluster: str) -> str:
    """Deployment, Service, ConfigMap, Secret and PodDisruptionBudget of pgBouncer."""
    return f"{cluster}-pgbouncer"


def repo_host(cluster: str) -> str:
    """StatefulSet of the pgBackRest repository host."""
    return f"{cluster}-repo-host"


def repo_volume(cluster: str, repo: str) -> str:
    """PersistentVolumeClaim of a repository on a volume."""
    return f"{cluster}-{repo}"


def pgbackrest_config(cluster: str) -> str:
    """ConfigMap with pgBackRest's files."""
    return f"{cluster}-pgbackrest-config"


def pgbackrest(cluster: str) -> str:
    """Secret and ServiceAccount of pgBackRest."""
    return f"{cluster}-pgbackrest"


def restore_job(cluster: str) -> str:
    """Job that restores the data of the first instance."""
    return f"{cluster}-pgbackrest-restore"


def restore_source(cluster: str) -> str:
    """ConfigMap or Secret with which the Job that fills a new cluster reaches the repository."""
    return f"{restore_job(cluster)}-config"


def restore_drill(cluster: str) -> str:
    """Job that restores a backup into a scratch volume."""
    return f"{cluster}-restore-drill"


def move_job(cluster: str, what: str) -> str:
    """Job that copies a volume of a former cluster; `what` is `pgdata` or `pgbackrest-repo`."""
    return f"{cluster}-move-{what}-dir"


def bootstrap_restore(cluster: str) -> str:
    """PerconaPGRestore that restores a backup into a new cluster (`spec.dataSource`)."""
    return f"{cluster}-bootstrap"


def requested_restore(cluster: str, value: str) -> str:
    """PerconaPGRestore for one value of the cluster's restore annotation."""
    return f"{cluster}-restore-{hashlib.sha256(value.encode()).hexdigest()[:8]}"


def backup_lease(cluster: str) -> str:
    """Lease that lets one backup or restore of a cluster run at a time."""
    return f"pg-{cluster}-backup-lock"


def instance_account(cluster: str) -> str:
    """ServiceAccount, Role and RoleBinding of the instances."""
    return f"{cluster}-instance"


def cluster_config(cluster: str) -> str:
    """ConfigMap with the part of Patroni's configuration that all instances share."""
    return f"{cluster}-config"


def scripts(cluster: str) -> str:
    """ConfigMap with the scripts that run in the containers."""
    return f"{cluster}-scripts"


def cluster_ca(cluster: str) -> str:
    """Secret of the cluster's certificate authority."""
    return f"{cluster}-cluster-ca-cert"


def custom_ca(cluster: str) -> str:
    """Secret with a copy of the user-provided certificate authority."""
    return f"{cluster}-custom-ca-cert"


def cluster_certificate(cluster: str) -> str:
    """Secret of PostgreSQL's server certificate."""
    return f"{cluster}-cluster-cert"


def replication_certificate(cluster: str) -> str:
    """Secret of the client certificate for replication."""
    return f"{cluster}-replication-cert"


def user_secret(cluster: str, user: str) -> str:
    """Secret with a PostgreSQL user's credentials, unless `spec.users[].secretName` is set."""
    return f"{cluster}-pguser-{user}"


def set_disruption_budget(cluster: str, set_name: str) -> str:
    """PodDisruptionBudget of an instance set."""
    return f"{cluster}-set-{set_name}"


def instance_certificates(instance: str) -> str:
    """Secret with an instance's own certificates."""
    return f"{instance}-certs"


def instance_config(instance: str) -> str:
    """ConfigMap with an instance's part of Patroni's configuration."""
    return f"{instance}-config"


def instance_volume(instance: str) -> str:
    """PersistentVolumeClaim of an instance's data."""
    return f"{instance}-pgdata"


def wal_volume(instance: str) -> str:
    """PersistentVolumeClaim of an instance's write-ahead log."""
    return f"{instance}-pgwal"


def tablespace_volume(instance: str, tablespace: str) -> str:
    """PersistentVolumeClaim of one tablespace of an instance."""
    return f"{instance}-{tablespace}-tablespace"


def instance_of_volume(claim: str) -> str:
    """Name of the instance in the name of its data volume."""
    return claim.removesuffix("-pgdata")


def pod(stateful_set: str) -> str:
    """Pod of a StatefulSet; every StatefulSet here has one replica."""
    return f"{stateful_set}-0"


def pod_host(stateful_set: str, cluster: str) -> str:
    """DNS name of a StatefulSet's pod within the namespace; independent of the cluster's DNS domain."""
    return f"{pod(stateful_set)}.{pods(cluster)}"


def instance_names(cluster: str, set_name: str) -> Iterator[str]:
    """Yield the names of a set's instances, in a fixed order, up to a number beyond the need of any set.

    A name depends only on cluster, set and position: an operator that crashed between two writes finds the
    same names again and creates no duplicates. The four characters are from the same alphabet as those of
    Percona's operator, which draws them at random.
    """
    seen: set[str] = set()
    # There are only 27^4 names: a search without an end could search indefinitely.
    for position in range(10_000):
        suffix = _suffix(f"{cluster}/{set_name}/{position}")
        if suffix not in seen:
            seen.add(suffix)
            yield f"{cluster}-{set_name}-{suffix}"


def _suffix(seed: str) -> str:
    digest = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8])
    return "".join(ALPHABET[digest // len(ALPHABET) ** place % len(ALPHABET)] for place in range(4))


def is_instance(name: str, cluster: str, set_name: str) -> bool:
    """Return whether `name` has the form of this set's instance names, which Percona's operator shares."""
    return re.fullmatch(f"{re.escape(f'{cluster}-{set_name}-')}[{ALPHABET}]{{4}}", name) is not None


def backup_job(cluster: str, purpose: str, seed: str) -> str:
    """Name of a repository Job or of a backup; the same seed, such as a uid, gives the same name."""
    return f"{cluster}-{purpose}-{_suffix(seed)}"


def check_names(cluster: str, set_names: list[str]) -> None:
    """Raise InvalidSpec if Kubernetes would refuse a name that is derived from the cluster or a set."""
    if not _SERVICE_NAME.fullmatch(cluster):
        raise InvalidSpec(
            f"the cluster name {cluster!r} is not valid: it is the prefix of Service names; use lower-case "
            "letters, digits and '-', and begin with a letter",
            reason="InvalidName",
        )
    if len(cluster) > CLUSTER_MAX:
        raise InvalidSpec(
            f"the cluster name {cluster!r} is too long: derived names such as {repo_host(cluster)!r} would "
            f"exceed the limit of Kubernetes; use at most {CLUSTER_MAX} characters",
            reason="NameTooLong",
        )
    for set_name in set_names:
        if len(cluster) + len(set_name) > CLUSTER_AND_SET_MAX:
            raise InvalidSpec(
                f"the cluster name {cluster!r} and the instance set name {set_name!r} have "
                f"{len(cluster) + len(set_name)} characters together; instance names consist of both, so use "
                f"at most {CLUSTER_AND_SET_MAX} characters together",
                reason="NameTooLong",
            )
