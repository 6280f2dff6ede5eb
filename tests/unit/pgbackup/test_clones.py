"""A backup of the source expires nothing while a new cluster is filled from its repositories."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from pgoperator import labels
from pgoperator.api.cluster import PGCluster
from pgoperator.api.pgbackup import PGBackup
from pgoperator.kube.manifest import Manifest
from reconcilers.pgbackup import controller, read_clones
from tests.support.views import NAMESPACE, NOW, cluster_manifest, filled_store, view


def source(consent: str = "") -> PGCluster:
    manifest = cluster_manifest()
    manifest["metadata"] |= {"name": "origin", "annotations": {labels.ALLOW_CLONE_FROM: consent}}
    return PGCluster.parse(manifest)


def clone(
    state: str | None = "Running", namespace: str = NAMESPACE, name: str = "cluster1-bootstrap", **of: Any
) -> list[Manifest]:
    """A new cluster and its restore."""
    data = {"clusterName": "origin", "clusterNamespace": NAMESPACE, "repoName": "repo1"} | of
    cluster = cluster_manifest(dataSource={"postgresCluster": data})
    cluster["metadata"]["namespace"] = namespace
    restore = {
        "apiVersion": "pgv2.percona.com/v2",
        "kind": "PerconaPGRestore",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": "u",
            "annotations": {labels.BOOTSTRAP_RESTORE: "true"},
        },
        "spec": {"pgCluster": "cluster1", "repoName": "repo1"},
        "status": {"state": state} if state else {},
    }
    return [cluster, restore]


@pytest.mark.parametrize(
    ("objects", "consent", "reads"),
    [
        (clone(), "", True),
        (clone(None), "", True),
        (clone("Succeeded"), "", False),
        (clone("Failed"), "", False),
        (clone(clusterName="other"), "", False),
        (clone(name="mine"), "", False),
        (clone()[1:], "", False),
        (clone(namespace="team-a"), "team-b, team-a", True),
        (clone(namespace="team-a"), "team-b", False),
    ],
)
def test_a_clone_that_has_not_ended_reads(objects: list[Manifest], consent: str, reads: bool) -> None:
    assert bool(read_clones.reader(filled_store(objects), source(consent))) is reads


@pytest.mark.parametrize("reads", [False, True])
def test_the_job_of_its_backup_expires_nothing(reads: bool) -> None:
    one, made = view(), []

    async def create(manifest: Manifest) -> None:
        made.append(manifest)

    others = clone(clusterName="cluster1") if reads else []
    if reads:
        others[0]["metadata"]["name"] = others[1]["spec"]["pgCluster"] = "new"
        others[1]["metadata"]["name"] = "new-bootstrap"
    manifest: Manifest = {
        "apiVersion": "pgv2.percona.com/v2",
        "kind": "PerconaPGBackup",
        "metadata": {"name": "b", "namespace": NAMESPACE, "uid": "u"},
        "spec": {"pgCluster": "cluster1", "repoName": "repo1", "options": ["--type=full"]},
        "status": {"state": "Starting"},
    }
    ctx: Any = SimpleNamespace(client=SimpleNamespace(create=create), store=filled_store(others), clock=NOW)
    seen: Any = SimpleNamespace(view=one, job=None, reason=lambda _: "manual")
    asyncio.run(controller._create(ctx, PGBackup.parse(manifest), manifest, seen, one.cluster))
    assert ("--no-expire-auto" in str(made)) is reads
