"""Views for tests of pure steps: a default cluster and variants of it."""

import copy
from datetime import UTC, datetime
from typing import Any

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest
from pgoperator.kube.store import Shard, Store
from pgoperator.settings import Settings
from reconcilers.pgcluster.database import decide_users
from reconcilers.pgcluster.instances import decide_membership
from reconcilers.pgcluster.state.observe import observe
from reconcilers.pgcluster.state.view import View

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMESPACE = "ns1"
IMAGES = {
    ("postgres", 17): "registry.example/postgres:17",
    ("pgbouncer", 0): "registry.example/pgbouncer:1",
    ("pgbackrest", 0): "registry.example/pgbackrest:2",
}


CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


def cluster_manifest(name: str = "cluster1", **spec: Any) -> Manifest:
    """Return the default custom resource; keywords replace top-level fields of its spec."""
    default: Manifest = {
        "postgresVersion": 17,
        "port": 5432,
        "instances": [{"name": "instance1", "replicas": 3, "dataVolumeClaimSpec": CLAIM}],
        "proxy": {"pgBouncer": {"replicas": 3, "port": 5432}},
        "backups": {"pgbackrest": {"repos": [{"name": "repo1", "volume": {"volumeClaimSpec": CLAIM}}]}},
    }
    return {
        "apiVersion": "pgv2.percona.com/v2",
        "kind": "PerconaPGCluster",
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": "uid-1", "generation": 1},
        "spec": copy.deepcopy(default | spec),
    }


def filled_store(objects: list[Manifest]) -> Store:
    """Return the operator's store, filled with these objects as its watches would fill it."""
    store = Store(labels.CLUSTER)
    shards: dict[str, Shard] = {}
    for version, manifest in enumerate(copy.deepcopy(objects), start=1):
        kind = kinds.kind_of(manifest)
        shard = shards.get(kind.kind) or shards.setdefault(kind.kind, store.open(kind, None))
        manifest["metadata"].setdefault("resourceVersion", str(version))
        shard.put(manifest)
    return store


def view(
    objects: list[Manifest] | None = None,
    *,
    name: str = "cluster1",
    status: Manifest | None = None,
    **spec: Any,
) -> View:
    """Return the View that a pass over these objects gets; Secrets hold placeholders."""
    manifest = cluster_manifest(name, **spec)
    if status is not None:
        manifest["status"] = status
    cluster = PGCluster.parse(manifest)
    observed = observe(filled_store(objects or []), NAMESPACE, name)
    sizes = {one.name: one.replicas for one in cluster.spec.instance_sets()}
    people = decide_users.effective(cluster)
    by_user = {u.name: u.secret_name or naming.user_secret(name, u.name) for u in people}
    secrets = {secret: {"verifier": VERIFIER} for secret in by_user.values()}
    if cluster.spec.pmm is not None:
        secrets[cluster.spec.pmm.secret] = {"PMM_SERVER_TOKEN": b"token"}
    secrets[naming.pgbouncer(name)] = {"pgbouncer-verifier": VERIFIER, "pgbouncer-frontend.crt": b"..."}
    return View(
        cluster=cluster,
        manifest=manifest,
        observed=observed,
        planned=decide_membership.planned(name, sizes, observed),
        settings=Settings(images=IMAGES),
        backups_enabled=cluster.spec.backups.enabled,
        now=NOW,
        secrets=secrets,
        user_secrets=by_user,
    )


VERIFIER = (
    b"SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$"
    b"c3RvcmVkLWtleS1zdG9yZWQta2V5LXN0b3JlZC1rZXk=:c2VydmVyLWtleS1zZXJ2ZXIta2V5LXNlcnZlci1rZXk="
)
