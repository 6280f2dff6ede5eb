"""Jobs that copy the volumes of a former cluster, and what waits for them."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from pgoperator import labels
from pgoperator.api.ignored import ignored_fields
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest, owned
from reconcilers.pgcluster.bootstrap import act_volume_import, build_import_job, decide_source
from tests.support.golden import assert_golden
from tests.support.pod_security import violations
from tests.support.views import CLAIM, NOW, filled_store, view

SOURCES: dict[str, Any] = {
    "pgDataVolume": {"pvcName": "old-pgdata", "directory": "pg", "labels": {"team": "a"}},
    "pgWALVolume": {"pvcName": "old-pgwal", "directory": "wal"},
    "pgBackRestVolume": {
        "pvcName": "old-repo1",
        "annotations": {"why": "moving"},
        "tolerations": [{"key": "old", "operator": "Exists"}],
    },
}
NEW = view(dataSource={"volumes": SOURCES})


def job(what: str, kind: str = "") -> Manifest:
    conditions = [{"type": kind, "status": "True", "message": "gone"}] if kind else []
    made = owned(build_import_job.manifest(NEW, what), NEW.manifest)
    return made | {"status": {"conditions": conditions}}


def test_the_jobs() -> None:
    made = [build_import_job.manifest(NEW, what) for what in decide_source.copies(NEW.cluster)]
    assert_golden(made, "adoption/all")
    for manifest in made:
        assert violations(manifest["spec"]["template"]["spec"]) == []
        mounts = manifest["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        assert all(mount.get("readOnly") for mount in mounts if mount["name"].startswith("source"))
    assert ignored_fields(NEW.manifest) == []


def test_a_new_cluster_waits_for_every_copy() -> None:
    def waits(*found: Manifest) -> bool:
        return decide_source.held(filled_store(list(found)), NEW.cluster, NEW.observed) is not None

    data, repository = (job(what, "Complete") for what in (decide_source.DATA, decide_source.REPOSITORY))
    assert waits()
    assert waits(data)
    assert waits(data, job(decide_source.REPOSITORY))
    assert waits(data, job(decide_source.REPOSITORY, "Failed"))
    assert not waits(data, repository)
    plain = view()
    assert decide_source.held(filled_store([]), plain.cluster, plain.observed) is None
    assert decide_source.copies(plain.cluster) == []


def test_a_backup_as_the_source_comes_before_volumes() -> None:
    source = {"clusterName": "other", "repoName": "repo1"}
    both = view(dataSource={"volumes": SOURCES, "postgresCluster": source})
    assert decide_source.copies(both.cluster) == []


class Events:
    """An API server with the volumes of the former cluster, and Events of the Jobs."""

    def __init__(self, *events: Manifest) -> None:
        self.events = list(events)

    async def get(self, _kind: Any, _namespace: str, name: str) -> Manifest:
        return {"metadata": {"name": name}}

    async def list(self, kind: Any, _namespace: str, **how: str) -> tuple[list[Manifest], str]:
        if kind != kinds.EVENT:
            return [], ""
        return [e for e in self.events if f"involvedObject.uid={e['uid']}" in how["fields"]], ""


def at(age: int, *pods: Manifest) -> Any:
    """The Job that copies the data at this age (seconds); a quota has refused its pod."""
    metadata = {"uid": "uid-job", "creationTimestamp": (NOW - timedelta(seconds=age)).isoformat()}
    made = job(decide_source.DATA)
    made |= {"metadata": made["metadata"] | metadata}
    refused = {
        "uid": "uid-job",
        "reason": "FailedCreate",
        "message": "exceeded quota: q",
        "lastTimestamp": "1",
    }
    store = filled_store([made, *pods])
    return SimpleNamespace(client=Events(refused), store=store, clock=lambda: NOW)


async def test_a_job_whose_pod_is_refused_is_reported() -> None:
    [found] = await act_volume_import.obstacles(at(6), NEW.cluster)
    assert found.reason == "BootstrapBlocked"
    assert found.message == "Job cluster1-move-pgdata-dir does not start: FailedCreate: exceeded quota: q"
    assert await act_volume_import.obstacles(at(4), NEW.cluster) == [], "a pod needs a moment"
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "p",
            "namespace": "ns1",
            "labels": {labels.JOB: "cluster1-move-pgdata-dir", labels.CLUSTER: "cluster1"},
        },
        "status": {"phase": "Running"},
    }
    assert await act_volume_import.obstacles(at(60, pod), NEW.cluster) == []


async def test_the_pass_looks_again_until_the_pods_run() -> None:
    ctx = at(6)
    made: list[Manifest] = []

    async def create(manifest: Manifest) -> None:
        made.append(manifest)

    ctx.client.create = create
    wait = await act_volume_import.act(ctx, NEW)
    assert len(made) == 1, "the second Job"
    assert wait.seconds == act_volume_import.RETRY_SECONDS


def test_the_job_has_the_resources_of_the_first_instance_set() -> None:
    """A quota refuses containers without any."""
    resources = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}
    instance = {"name": "a", "replicas": 1, "dataVolumeClaimSpec": CLAIM, "resources": resources}
    seen = view(dataSource={"volumes": SOURCES}, instances=[instance])
    for what in decide_source.copies(seen.cluster):
        [container] = build_import_job.manifest(seen, what)["spec"]["template"]["spec"]["containers"]
        assert container["resources"] == resources
