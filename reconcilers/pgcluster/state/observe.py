"""Observe: one snapshot per pass of the objects that a cluster owns, from the store of the watches."""

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest, labels_of, name_of
from pgoperator.kube.store import Store
from reconcilers.pgcluster.state.view import ClusterView, Instance, Member, Observed


def observe(store: Store, namespace: str, cluster: str) -> Observed:
    """Read all objects of the cluster from the store; no request is made."""
    ours = labels.of_cluster(cluster)
    pods = store.select(kinds.POD, namespace, ours)
    repo_host = naming.repo_host(cluster)
    return Observed(
        instances=_instances(store, namespace, cluster, pods),
        volumes=tuple(
            claim
            for claim in store.select(kinds.PVC, namespace, ours | {labels.ROLE: labels.ROLE_PGDATA})
            if _is_data_volume(claim, cluster)
        ),
        wal_volumes=frozenset(
            map(name_of, store.select(kinds.PVC, namespace, ours | {labels.ROLE: labels.ROLE_PGWAL}))
        ),
        repo_volumes=_repo_volumes(store, namespace, cluster),
        leader=store.get(kinds.ENDPOINTS, namespace, naming.patroni_scope(cluster)),
        leader_service=store.get(kinds.SERVICE, namespace, naming.patroni_scope(cluster)),
        dcs=store.get(kinds.ENDPOINTS, namespace, naming.patroni_config(cluster)),
        sync=store.get(kinds.ENDPOINTS, namespace, naming.patroni_sync(cluster)),
        repo_host=store.get(kinds.STATEFUL_SET, namespace, repo_host),
        repo_host_pod=store.get(kinds.POD, namespace, naming.pod(repo_host)),
        pooler_service=store.get(kinds.SERVICE, namespace, naming.pgbouncer(cluster)),
        account=store.get(kinds.SERVICE_ACCOUNT, namespace, naming.instance_account(cluster)),
        has_monitor=store.get(kinds.SECRET, namespace, naming.user_secret(cluster, naming.MONITOR_USER))
        is not None,
        pooler_pods=tuple(p for p in pods if labels_of(p).get(labels.ROLE) == labels.ROLE_PGBOUNCER),
    )


def backups(store: Store, namespace: str, cluster: str) -> list[Manifest]:
    """The PerconaPGBackups of a cluster, sorted by name."""
    return store.owned_by(kinds.PG_BACKUP, namespace, cluster)


def _repo_volumes(store: Store, namespace: str, cluster: str) -> dict[str, str]:
    claims = store.select(kinds.PVC, namespace, labels.of_cluster(cluster) | {labels.PGBACKREST_VOLUME: ""})
    by_repo = {labels_of(claim).get(labels.PGBACKREST_REPO, ""): claim for claim in claims}
    return {
        repo: str(claim["spec"].get("volumeName", ""))
        for repo, claim in by_repo.items()
        if name_of(claim) == naming.repo_volume(cluster, repo)
    }


def _is_data_volume(claim: Manifest, cluster: str) -> bool:
    """Whether the claim's name is one that the operator gives; a copy with the same labels does not count."""
    instance = naming.instance_of_volume(name_of(claim))
    set_name = labels_of(claim).get(labels.INSTANCE_SET, "")
    return name_of(claim) == naming.instance_volume(instance) and naming.is_instance(
        instance, cluster, set_name
    )


def _instances(store: Store, namespace: str, cluster: str, pods: list[Manifest]) -> tuple[Instance, ...]:
    """The instances, by name; a pod whose StatefulSet has been deleted still counts.

    A pod counts only under its own name. The account of a database pod may change the labels of that pod, so
    labels alone could make it an instance of another cluster.
    """
    postgres = labels.of_cluster(cluster) | {labels.DATA: labels.DATA_POSTGRES}
    stateful_sets = {
        labels_of(s)[labels.INSTANCE]: s
        for s in store.select(kinds.STATEFUL_SET, namespace, postgres)
        if labels.INSTANCE in labels_of(s)
    }
    by_instance = {
        instance: p
        for p in pods
        if (instance := labels_of(p).get(labels.INSTANCE, ""))
        and labels_of(p).get(labels.DATA) == labels.DATA_POSTGRES
        and name_of(p) == naming.pod(instance)
    }
    instances = []
    for name in sorted(stateful_sets.keys() | by_instance.keys()):
        stateful_set, pod = stateful_sets.get(name), by_instance.get(name)
        labelled = stateful_set or pod
        assert labelled is not None
        instances.append(
            Instance(
                name=name,
                set_name=labels_of(labelled).get(labels.INSTANCE_SET, ""),
                stateful_set=stateful_set,
                pod=pod,
                member=Member.of(pod) if pod else Member(),
            )
        )
    return tuple(instances)


class InvalidCluster(InvalidSpec):
    """The spec of the cluster of a backup or restore is invalid; both wait for its correction."""


def read_cluster(store: Store, namespace: str, name: str) -> tuple[PGCluster, Manifest] | None:
    """The cluster of a backup or restore, with its manifest; None if there is none. Raises InvalidCluster."""
    manifest = store.get(kinds.PG_CLUSTER, namespace, name)
    if manifest is None:
        return None
    try:
        return PGCluster.parse(manifest), manifest
    except InvalidSpec as error:
        message = f"the spec of PerconaPGCluster {name} is invalid: {error}; correct the cluster first"
        raise InvalidCluster(message) from error


def observe_for_job(
    ctx: Context, cluster: PGCluster, manifest: Manifest, observed: Observed | None = None
) -> ClusterView:
    """The view that the builders of Jobs need; `observed` saves a second snapshot."""
    return ClusterView(
        cluster=cluster,
        manifest=manifest,
        observed=observed or observe(ctx.store, cluster.namespace, cluster.name),
        settings=ctx.settings,
        backups_enabled=cluster.spec.backups.enabled,
    )
