"""Jobs that copy the volumes of a former cluster, and what waits for them."""

from typing import Any

from pgoperator.api.ignored import ignored_fields
from pgoperator.kube.manifest import Manifest, owned
from reconcilers.pgcluster.bootstrap import build_import_job, decide_source
from tests.support.golden import assert_golden
from tests.support.pod_security import violations
from tests.support.views import filled_store, view

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
