"""What of a cluster the finalizers of its author may delete: what the operator made, or named itself. Pure.

A label alone says too little: anybody may put it on what is theirs, for a backup tool or a selector.
"""

from collections.abc import Mapping

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.kube.apply import APPLIED_HASH
from pgoperator.kube.manifest import Manifest, annotations_of, labels_of, name_of
from reconcilers.pgcluster import brought


def is_volume(cluster: PGCluster, claim: Manifest) -> bool:
    """Whether a claim is of an instance's data, log or tablespace, of a repository, or made for sidecars."""
    own, name = labels_of(claim), name_of(claim)
    if own.get(labels.CLUSTER) != cluster.name:
        return False
    if own.get(labels.ROLE) == labels.ROLE_SIDECAR:
        # The name is the author's; the mark of our own write is not.
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
    """Whether a Secret is that of a user of the database."""
    own = labels_of(secret)
    user = own.get(labels.PGUSER, "")
    if own.get(labels.CLUSTER) != cluster.name or own.get(labels.ROLE) != labels.ROLE_PGUSER or not user:
        return False
    made = annotations_of(secret).get(labels.GENERATED) == "true"
    return made or name_of(secret) == naming.user_secret(cluster.name, user)


def is_certificate(cluster: PGCluster, secret: Manifest) -> bool:
    """Whether a Secret holds certificates, their authority or the pooler's passwords, of our making."""
    own, name = labels_of(secret), name_of(secret)
    # What the author made under our names is the author's.
    if own.get(labels.CLUSTER) != cluster.name or name in brought.names(cluster):
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
    """The instance that an object's labels name, if the operator would have called one so."""
    set_name, instance = own.get(labels.INSTANCE_SET, ""), own.get(labels.INSTANCE, "")
    return instance if naming.is_instance(instance, cluster.name, set_name) else None
