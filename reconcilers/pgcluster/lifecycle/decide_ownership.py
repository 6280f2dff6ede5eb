"""Which objects the user's finalizers may delete: only objects that the operator made or named. Pure.

The cluster's label alone is not enough: the user may put it on other objects, for a backup tool or a
selector.
"""

from collections.abc import Mapping

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.kube.apply import APPLIED_HASH
from pgoperator.kube.manifest import Manifest, annotations_of, labels_of, name_of
from reconcilers.pgcluster.credentials import read_user_secrets


def is_volume(cluster: PGCluster, claim: Manifest) -> bool:
    """Whether a claim is an instance's (data, WAL, tablespace), a repository's, or made for sidecars."""
    own, name = labels_of(claim), name_of(claim)
    if own.get(labels.CLUSTER) != cluster.name:
        return False
    if own.get(labels.ROLE) == labels.ROLE_SIDECAR:
        # The user chose the name; the annotation shows that the operator wrote the claim.
        return APPLIED_HASH in annotations_of(claim)
    if repo := own.get(labels.PGBACKREST_REPO):
        return name == naming.repo_volume(cluster.name, repo)
    instance = _instance(cluster, own)
    return instance is not None and name in {
        naming.instance_volume(instance),
        naming.wal_volume(instance),
        naming.tablespace_volume(instance, own.get(labels.DATA, "")),
    }


def is_password(cluster: PGCluster, secret: Manifest) -> bool:
    """Whether a Secret holds the password of a database user and was made or named by the operator."""
    own = labels_of(secret)
    user = own.get(labels.PGUSER, "")
    if own.get(labels.CLUSTER) != cluster.name or own.get(labels.ROLE) != labels.ROLE_PGUSER or not user:
        return False
    generated = annotations_of(secret).get(labels.GENERATED) == "true"
    return generated or name_of(secret) == naming.user_secret(cluster.name, user)


def is_certificate(cluster: PGCluster, secret: Manifest) -> bool:
    """Whether a Secret holds certificates, a CA or pgBouncer's passwords that the operator made."""
    own, name = labels_of(secret), name_of(secret)
    # A Secret that the user provides under one of these names is the user's.
    if own.get(labels.CLUSTER) != cluster.name or name in read_user_secrets.names(cluster):
        return False
    if cluster.spec.tls.cert_management_policy == "userProvidedOnly":
        return False
    shared = (
        *(naming.cluster_ca, naming.custom_ca, naming.cluster_certificate, naming.replication_certificate),
        *(naming.pgbackrest, naming.pgbouncer),
    )
    instance = _instance(cluster, own)
    return name in {named(cluster.name) for named in shared} or (
        instance is not None and name == naming.instance_certificates(instance)
    )


def _instance(cluster: PGCluster, own: Mapping[str, str]) -> str | None:
    """The instance in an object's labels, if the operator could have given that name."""
    set_name, instance = own.get(labels.INSTANCE_SET, ""), own.get(labels.INSTANCE, "")
    return instance if naming.is_instance(instance, cluster.name, set_name) else None
