"""The objects of a cluster that Percona's operator runs, reduced to what another operator looks at.

Names, labels, finalizers and owners are as release 3.1 writes them: the inner PostgresCluster owns the
workloads and everything that follows from the spec; claims, most Secrets and Patroni's Endpoints have no
owner; only the Secret of the certificate authority has an owner and no label.
"""

from typing import Any

from pgoperator import labels, naming
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Kind, Manifest

C = "cluster1"
INSTANCES = tuple(f"{C}-instance1-{suffix}" for suffix in ("2b9d", "9cbc", "mfgv"))
OWNER = {
    "apiVersion": "upstream.pgv2.percona.com/v1beta1",
    "kind": "PostgresCluster",
    "name": C,
    "uid": "1a06cca2-7370-4801-b893-ef1f04fda248",
    "controller": True,
    "blockOwnerDeletion": True,
}
LABELS = labels.recommended(C) | labels.of_cluster(C)
STATUS: Manifest = {
    "state": "ready",
    "host": f"{C}-pgbouncer.mig.svc",
    "observedGeneration": 1,
    "conditions": [
        {
            "type": "PGBackRestRepoHostReady",
            "status": "True",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-11-30T01:49:00Z",
            "reason": "RepoHostReady",
            "message": "pgBackRest dedicated repository host is ready",
        },
        {
            "type": "APIGroupMigration",
            "status": "True",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-11-30T01:49:02Z",
            "reason": "APIGroupMigrationNotNeeded",
            "message": "",
        },
    ],
    "postgres": {"ready": 3, "size": 3, "version": 17},
}


def owned(kind: Kind, name: str, own: dict[str, str] | None = None, **fields: Any) -> Manifest:
    """An object that the inner resource owns."""
    manifest = loose(kind, name, own, **fields)
    manifest["metadata"]["ownerReferences"] = [OWNER]
    return manifest


def loose(kind: Kind, name: str, own: dict[str, str] | None = None, **fields: Any) -> Manifest:
    """An object without an owner."""
    metadata = {"name": name, "labels": LABELS | (own or {})}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **fields}


def _template(own: dict[str, str]) -> Manifest:
    return {
        "metadata": {"labels": LABELS | own},
        "spec": {"containers": [{"name": "database", "image": "none"}]},
    }


def _workload(kind: Kind, name: str, own: dict[str, str], **spec: Any) -> Manifest:
    selector = {"matchLabels": labels.of_cluster(C) | own}
    return owned(kind, name, own, spec={"selector": selector, "template": _template(own)} | spec)


def _secret(name: str, own: dict[str, str] | None = None) -> Manifest:
    return loose(kinds.SECRET, name, own, stringData={"tls.crt": "theirs", "password": "theirs"})


def _instance(name: str) -> dict[str, str]:
    return labels.instance(C, "instance1", name) | {labels.DATA: labels.DATA_POSTGRES}


def workloads() -> list[Manifest]:
    """The StatefulSets and the Deployment."""
    host = {labels.PGBACKREST: "", labels.PGBACKREST_DEDICATED: "", labels.DATA: labels.DATA_PGBACKREST}
    pods = naming.pods(C)
    return [
        *(_workload(kinds.STATEFUL_SET, name, _instance(name), serviceName=pods) for name in INSTANCES),
        _workload(kinds.STATEFUL_SET, naming.repo_host(C), host, serviceName=pods),
        _workload(kinds.DEPLOYMENT, naming.pgbouncer(C), {labels.ROLE: labels.ROLE_PGBOUNCER}),
    ]


def certificate_authority() -> Manifest:
    """The Secret with an owner and without a label."""
    manifest = owned(kinds.SECRET, naming.cluster_ca(C), stringData={"root.crt": "theirs"})
    del manifest["metadata"]["labels"]
    return manifest


def parts() -> list[Manifest]:
    """The other objects that the inner resource owns."""
    ports: Manifest = {"ports": [{"name": "postgres", "port": 5432}]}
    group = "rbac.authorization.k8s.io"
    configs = [
        "config",
        "pgbackrest-config",
        "pgbouncer",
        *(f"{i.removeprefix(f'{C}-')}-config" for i in INSTANCES),
    ]
    services = ("ha", "ha-config", "pgbouncer", "pods", "primary", "replicas")
    found = [owned(kinds.CONFIG_MAP, f"{C}-{name}", data={"theirs": "1"}) for name in configs]
    found += [owned(kinds.SERVICE, f"{C}-{name}", spec=ports) for name in services]
    for name in (f"{C}-instance", f"{C}-pgbackrest"):
        role = {"apiGroup": group, "kind": "Role", "name": name}
        found += [
            owned(kinds.SERVICE_ACCOUNT, name),
            owned(kinds.ROLE, name, rules=[]),
            owned(kinds.ROLE_BINDING, name, roleRef=role, subjects=[]),
        ]
    found += [
        owned(kinds.ENDPOINTS, f"{C}-primary"),
        owned(kinds.POD_DISRUPTION_BUDGET, f"{C}-pgbouncer", spec={}),
    ]
    return found


def ownerless() -> list[Manifest]:
    """Claims, Secrets and Endpoints, which a deleted cluster leaves as well."""
    size = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    lock = {"leader": naming.pod(INSTANCES[0]), "initialize": "7713775605082554483"}
    endpoints = [
        loose(kinds.ENDPOINTS, f"{C}-{name}", {labels.PATRONI: naming.patroni_scope(C)})
        for name in ("ha", "ha-config")
    ]
    for one in endpoints:
        one["metadata"]["annotations"] = lock
    claims = [
        loose(
            kinds.PVC, naming.instance_volume(i), _instance(i) | {labels.ROLE: labels.ROLE_PGDATA}, spec=size
        )
        for i in INSTANCES
    ]
    repo = {labels.PGBACKREST: "", labels.PGBACKREST_REPO: "repo1", labels.PGBACKREST_VOLUME: ""}
    return [
        *endpoints,
        *claims,
        loose(kinds.PVC, f"{C}-repo1", repo, spec=size),
        *(_secret(f"{i}-certs", labels.instance(C, "instance1", i)) for i in INSTANCES),
        *map(_secret, (f"{C}-cluster-cert", f"{C}-replication-cert", f"{C}-pgbackrest", f"{C}-pgbouncer")),
        _secret(f"{C}-pguser-app", labels.pguser(C, "app")),
    ]


def pods() -> list[Manifest]:
    """The pods of the instances; the first is the primary."""
    return [
        loose(
            kinds.POD,
            naming.pod(name),
            _instance(name) | {labels.ROLE: "primary" if name == INSTANCES[0] else "replica"},
            spec={"containers": [{"name": "database", "image": "none"}]},
        )
        for name in INSTANCES
    ]


def backup(name: str, status: Manifest | None = None, **metadata: Any) -> Manifest:
    """A PerconaPGBackup; with a status one that Percona's operator has begun."""
    begun = {
        "annotations": {labels.BACKUP_JOB_NAME: f"{name}-job", labels.BACKUP_JOB_TYPE: "manual"},
        "finalizers": [labels.FINALIZER_BACKUP],
    }
    return {
        "apiVersion": kinds.PG_BACKUP.api_version,
        "kind": kinds.PG_BACKUP.kind,
        "metadata": {"name": name} | (begun if status else {}) | metadata,
        "spec": {"pgCluster": C, "repoName": "repo1"},
        "status": {"jobName": f"{name}-job", "crVersion": "3.1.0", **status} if status else {},
    }


def restore(name: str, status: Manifest | None = None) -> Manifest:
    """A PerconaPGRestore."""
    return {
        "apiVersion": kinds.PG_RESTORE.api_version,
        "kind": kinds.PG_RESTORE.kind,
        "metadata": {"name": name},
        "spec": {"pgCluster": C, "repoName": "repo1"},
        "status": status or {},
    }


def backup_job(running: str) -> Manifest:
    """The Job of a running backup."""
    own = {labels.PGBACKREST: "", labels.PGBACKREST_BACKUP: "manual", labels.PGBACKREST_REPO: "repo1"}
    template = _template(own)
    template["spec"]["restartPolicy"] = "Never"
    return loose(kinds.JOB, f"{running}-job", own, spec={"template": template})


def lease() -> Manifest:
    """The Lease of the repositories, held by a backup."""
    metadata = {"name": naming.backup_lease(C)}
    spec = {"holderIdentity": "running|b41dadf7-3f72-42f2-b90a-3307aed97c74"}
    return {"apiVersion": kinds.LEASE.api_version, "kind": "Lease", "metadata": metadata, "spec": spec}
