"""Observe: one snapshot per pass of what a cluster owns, from the watches' store."""

from pgoperator import labels, naming
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest, labels_of, name_of
from pgoperator.kube.store import Store
from reconcilers.pgcluster.view import Instance, Member, Observed


def observe(store: Store, namespace: str, cluster: str) -> Observed:
    """Read everything that belongs to the cluster; no request is made."""
    ours = labels.of_cluster(cluster)
    pods = store.select(kinds.POD, namespace, ours)
    repo_host = naming.repo_host(cluster)
    return Observed(
        instances=_instances(store, namespace, cluster, pods),
        volumes=tuple(store.select(kinds.PVC, namespace, ours | {labels.ROLE: labels.ROLE_PGDATA})),
        wal_volumes=frozenset(
            map(name_of, store.select(kinds.PVC, namespace, ours | {labels.ROLE: labels.ROLE_PGWAL}))
        ),
        leader=store.get(kinds.ENDPOINTS, namespace, naming.patroni_scope(cluster)),
        leader_service=store.get(kinds.SERVICE, namespace, naming.patroni_scope(cluster)),
        dcs=store.get(kinds.ENDPOINTS, namespace, naming.patroni_config(cluster)),
        sync=store.get(kinds.ENDPOINTS, namespace, naming.patroni_sync(cluster)),
        repo_host=store.get(kinds.STATEFUL_SET, namespace, repo_host),
        repo_host_pod=store.get(kinds.POD, namespace, naming.pod(repo_host)),
        pooler_service=store.get(kinds.SERVICE, namespace, naming.pgbouncer(cluster)),
        has_monitor=store.get(kinds.SECRET, namespace, naming.user_secret(cluster, naming.MONITOR_USER))
        is not None,
        pooler_pods=tuple(p for p in pods if labels_of(p).get(labels.ROLE) == labels.ROLE_PGBOUNCER),
    )


def _instances(store: Store, namespace: str, cluster: str, pods: list[Manifest]) -> tuple[Instance, ...]:
    """The instances, by name; a pod whose StatefulSet has gone still counts."""
    postgres = labels.of_cluster(cluster) | {labels.DATA: labels.DATA_POSTGRES}
    stateful_sets = {
        labels_of(s)[labels.INSTANCE]: s
        for s in store.select(kinds.STATEFUL_SET, namespace, postgres)
        if labels.INSTANCE in labels_of(s)
    }
    by_instance = {
        labels_of(p)[labels.INSTANCE]: p
        for p in pods
        if labels.INSTANCE in labels_of(p) and labels_of(p).get(labels.DATA) == labels.DATA_POSTGRES
    }
    instances = []
    for name in sorted(stateful_sets.keys() | by_instance.keys()):
        stateful_set, pod = stateful_sets.get(name), by_instance.get(name)
        found = stateful_set or pod
        assert found is not None
        instances.append(
            Instance(
                name=name,
                set_name=labels_of(found).get(labels.INSTANCE_SET, ""),
                stateful_set=stateful_set,
                pod=pod,
                member=Member.of(pod) if pod and name_of(pod) == naming.pod(name) else Member(),
            )
        )
    return tuple(instances)
