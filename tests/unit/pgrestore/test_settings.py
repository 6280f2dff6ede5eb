"""Where the Job of a restore runs, as whom, and with which variables."""

from typing import Any

import pytest

from pgoperator.api.pgrestore import PGRestore
from pgoperator.kube.manifest import Manifest
from reconcilers.pgrestore import build_job
from tests.support.views import CLAIM, NAMESPACE, view

TAINT = {"key": "dedicated", "operator": "Equal", "value": "pg", "effect": "NoSchedule"}
OTHER = {"key": "spot", "operator": "Exists"}
NEAR: Manifest = {
    "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}
}
ACCOUNT = {"runAsUser": 1001, "fsGroup": 1001}
KEYS = [{"secretRef": {"name": "keys"}}]


def pod(
    *, restore: Any = None, jobs: Any = None, options: Any = None, instances: Any = None, **pgbackrest: Any
) -> Manifest:
    """The pod of a restore; keywords are sections of the cluster's spec, `options` the restore's own."""
    sets = [{"name": "instance1", "replicas": 1, "dataVolumeClaimSpec": CLAIM, **(instances or {})}]
    repos = [{"name": "repo1", "volume": {"volumeClaimSpec": CLAIM}}]
    section = {"repos": repos, **pgbackrest} | ({"jobs": jobs} if jobs else {})
    if restore:
        section["restore"] = {"enabled": False, "repoName": "repo1", **restore}
    cluster = view(instances=sets, backups={"pgbackrest": section})
    spec = {"pgCluster": "cluster1", "repoName": "repo1"}
    wanted = PGRestore.parse(
        {
            "apiVersion": "pgv2.percona.com/v2",
            "kind": "PerconaPGRestore",
            "metadata": {"name": "back", "namespace": NAMESPACE, "uid": "back"},
            "spec": spec | ({"containerOptions": options} if options else {}),
            "status": {"instance": "cluster1-instance1-abcd"},
        }
    )
    made: Manifest = build_job.manifest(cluster, wanted, [])["spec"]["template"]["spec"]
    return made


def env(made: Manifest) -> dict[str, str]:
    return {one["name"]: one["value"] for one in made["containers"][0]["env"]}


def test_the_job_tolerates_what_its_instance_tolerates() -> None:
    """Its volume determines the node; a Job that is not scheduled costs an outage."""
    assert pod(instances={"tolerations": [TAINT]})["tolerations"] == [TAINT]
    both = pod(instances={"tolerations": [TAINT]}, restore={"tolerations": [TAINT, OTHER]})
    assert both["tolerations"] == [TAINT, OTHER]
    assert pod(jobs={"tolerations": [OTHER]})["tolerations"] == [OTHER]


@pytest.mark.parametrize("section", ["restore", "jobs", "instances"])
def test_placement_and_account_come_from_the_first_section_that_has_them(section: str) -> None:
    found: Any = {"affinity": NEAR, "priorityClassName": "high"}
    made = pod(**{section: found})
    assert (made["affinity"], made["priorityClassName"]) == (NEAR, "high")
    assert pod(restore={"priorityClassName": "first"}, instances=found)["priorityClassName"] == "first"


def test_the_files_belong_to_the_account_of_the_instance() -> None:
    assert pod(instances={"securityContext": ACCOUNT})["securityContext"] == ACCOUNT
    other = {"runAsUser": 26}
    assert (
        pod(instances={"securityContext": ACCOUNT}, jobs={"securityContext": other})["securityContext"]
        == other
    )


def test_the_identity_is_that_of_the_instances_without_a_token() -> None:
    made = pod()
    assert made["serviceAccountName"] == "cluster1-instance"
    assert made["automountServiceAccountToken"] is False


def test_variables_of_pgbackrest_reach_the_restore() -> None:
    level = [{"name": "PGBACKREST_COMPRESS_LEVEL", "value": "1"}]
    made = pod(envFrom=KEYS, env=level)
    assert made["containers"][0]["envFrom"] == KEYS
    assert env(made)["PGBACKREST_COMPRESS_LEVEL"] == "1"
    own = pod(envFrom=KEYS, env=level, restore={"env": [{"name": "PGBACKREST_IO_TIMEOUT", "value": "9"}]})
    assert own["containers"][0].get("envFrom", []) == []
    assert env(own)["PGBACKREST_IO_TIMEOUT"] == "9"
    assert "PGBACKREST_COMPRESS_LEVEL" not in env(own)
    options = {"env": [{"name": "PGBACKREST_COMPRESS_LEVEL", "value": "3"}]}
    mixed = env(pod(envFrom=KEYS, env=level, options=options))
    assert mixed["PGBACKREST_COMPRESS_LEVEL"] == "3"
    ours = env(pod(restore={"env": [{"name": "PGDATA", "value": "/"}]}))
    assert ours["PGDATA"] == "/pgdata/pg17", "the operator's own variables win"


def test_the_memory_of_an_instance_is_not_taken_for_the_job() -> None:
    resources = {"limits": {"memory": "64Gi"}}
    assert "resources" not in pod(instances={"resources": resources})["containers"][0]
    assert pod(restore={"resources": resources})["containers"][0]["resources"] == resources
