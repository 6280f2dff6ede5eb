"""Additions of the user to the pods of a cluster exist and work."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from pgoperator import labels
from tests.support.clusters import Cluster, example, small
from tests.support.kubectl import Kubectl, until

CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
IMAGE = "localhost/pgoperator/postgres:17"
CAREFUL = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
INIT = "CREATE TABLE started (at timestamptz DEFAULT now());\nINSERT INTO started DEFAULT VALUES;\n"


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def helper(name: str, command: str, claim: str = "pods-notes", **fields: Any) -> dict[str, Any]:
    mounts = [{"name": one, "mountPath": f"/{one}"} for one in ("shared", claim)]
    return {
        "name": name,
        "image": IMAGE,
        "command": ["bash", "-c", command],
        "securityContext": CAREFUL,
        "volumeMounts": mounts,
        **fields,
    }


def beside(claim: str) -> dict[str, Any]:
    """A sidecar with a volume and a claim, for pods that are not instances."""
    command = f"echo kept >/shared/word; cat /shared/word >/{claim}/word; exec sleep 100000"
    return {
        "sidecars": [helper("notes", command, claim)],
        "sidecarVolumes": [{"name": "shared", "emptyDir": {}}],
        "sidecarPVCs": [{"name": claim, "spec": CLAIM}],
    }


@pytest.fixture(scope="module")
def cluster(kubectl: Kubectl, new_cluster: Callable[..., Cluster]) -> Cluster:
    kubectl.apply(
        config_map("settings", COLOUR="blue"),
        config_map("files", **{"word.rules": "one"}),
        config_map("first", sql=INIT + "SELECT not_there();\n"),
    )
    instance_set = {
        "name": "instance1",
        "replicas": 1,
        "dataVolumeClaimSpec": CLAIM,
        "env": [{"name": "SHAPE", "value": "round"}],
        "envFrom": [{"configMapRef": {"name": "settings"}}],
        "initContainers": [helper("prepare", "echo prepared >/shared/word")],
        "sidecars": [
            helper(
                "notes",
                'cat /shared/word >/pods-notes/word; exec sleep "$SECONDS_TO_SLEEP"',
                env=[{"name": "SECONDS_TO_SLEEP", "value": "100000"}],
                envFrom=[{"configMapRef": {"name": "settings"}}],
            )
        ],
        "sidecarVolumes": [{"name": "shared", "emptyDir": {}}],
        "sidecarPVCs": [{"name": "pods-notes", "spec": CLAIM}],
        "extraVolumes": [
            {"name": "more", "volumeSource": {"emptyDir": {}}, "mounts": [{"mountPath": "/more"}]}
        ],
        "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
    }
    manifest = small(
        "pods",
        instances=[instance_set],
        backups=example("pods")["spec"]["backups"],
        config={"files": [{"configMap": {"name": "files"}}]},
        databaseInitSQL={"name": "first", "key": "sql"},
    )
    manifest["spec"]["proxy"]["pgBouncer"] |= beside("pooler-notes")
    manifest["spec"]["backups"]["pgbackrest"]["repoHost"] = beside("repo-notes")
    made = new_cluster(manifest)
    made.apply()
    until(
        "the condition shows the error in the SQL",
        lambda: "not_there" in made.condition("Ready").get("message", ""),
        150,
        made.explain,
    )
    made.psql("DROP TABLE started")
    kubectl.apply(config_map("first", sql=INIT))
    made.wait_ready()
    return made


def test_sql_for_a_new_cluster_is_run_once(cluster: Cluster) -> None:
    assert cluster.psql("SELECT count(*) FROM started") == "1"
    assert cluster.cr()["status"]["databaseInitSQL"] == "first"
    cluster.kubectl.apply(config_map("first", sql="DROP TABLE started;"))
    cluster.change(lambda spec: spec.update(metadata={"labels": {"touched": "yes"}}))
    cluster.wait_ready()
    assert cluster.psql("SELECT count(*) FROM started") == "1"


def test_a_sidecar_has_its_variables_volume_and_claim(cluster: Cluster) -> None:
    pod = cluster.primary_name()
    command = ("bash", "-c", "echo $COLOUR; cat /pods-notes/word")
    said = cluster.kubectl.exec(pod, *command, container="notes").split()
    assert said == ["blue", "prepared"]
    is_kept(cluster, "pods-notes")


def is_kept(cluster: Cluster, name: str) -> None:
    claim = cluster.kubectl.get("pvc", name)
    assert claim["metadata"]["labels"][labels.CLUSTER] == cluster.name
    assert "ownerReferences" not in claim["metadata"]


def test_a_sidecar_of_the_pooler_and_of_the_repository_has_them_too(cluster: Cluster) -> None:
    [pooler] = cluster.poolers()
    for pod, claim in (
        (pooler["metadata"]["name"], "pooler-notes"),
        (f"{cluster.name}-repo-host-0", "repo-notes"),
    ):
        assert cluster.kubectl.exec(pod, "cat", f"/{claim}/word", container="notes").strip() == "kept"
        is_kept(cluster, claim)


def test_the_database_has_its_variables_files_and_mounts(cluster: Cluster) -> None:
    command = "echo $SHAPE $COLOUR; cat /shared/word /etc/postgres/word.rules; echo; touch /more/x; ls /more"
    said = cluster.exec(cluster.primary_name(), "bash", "-c", command).split()
    assert said == ["round", "blue", "prepared", "one", "x"]


def test_a_changed_config_map_changes_the_template_and_a_missing_one_does_not(cluster: Cluster) -> None:
    [name] = {pod["metadata"]["labels"][labels.INSTANCE] for pod in cluster.instances()}

    def digest() -> str:
        template = cluster.kubectl.get("statefulset", name)["spec"]["template"]
        return str(template["metadata"]["annotations"].get(labels.REFERENCED))

    before = digest()
    assert before != "None"
    # With the cluster's label, the operator notices a change at once.
    marked = config_map("settings", COLOUR="green")
    marked["metadata"]["labels"] = labels.of_cluster(cluster.name)
    cluster.kubectl.apply(marked)
    until("the template has another digest", lambda: digest() != before, 30, cluster.explain)
    changed = digest()
    cluster.kubectl.delete("configmap", "settings")
    until(
        "the missing reference is named",
        lambda: cluster.condition("Ready").get("reason") == "ConfigMapMissing",
        30,
        cluster.explain,
    )
    assert "'settings'" in cluster.condition("Ready")["message"]
    assert digest() == changed
    cluster.kubectl.apply(config_map("settings", COLOUR="green"))
    cluster.wait_ready()
    assert digest() == changed


def test_a_name_of_ours_is_refused_and_the_cluster_goes_on(cluster: Cluster) -> None:
    before = cluster.restarts()
    cluster.change(lambda spec: spec["instances"][0]["env"].append({"name": "PATRONI_SCOPE", "value": "x"}))
    until(
        "the variable is named",
        lambda: "PATRONI_SCOPE" in cluster.condition("Ready").get("message", ""),
        30,
        cluster.explain,
    )
    assert cluster.condition("Ready")["reason"] == "NameReserved"
    cluster.change(lambda spec: spec["instances"][0]["env"].pop())
    cluster.wait_ready()
    assert cluster.restarts() == before


def test_a_volume_that_cannot_grow_is_named_and_one_does_not_shrink(cluster: Cluster) -> None:
    def ask(size: str) -> None:
        requests = {"requests": {"storage": size}}
        spec = {"accessModes": ["ReadWriteOnce"], "resources": requests}
        cluster.change(lambda found: found["instances"][0].update(dataVolumeClaimSpec=spec))

    def has_reason(reason: str) -> bool:
        return cluster.condition("Ready").get("reason") == reason

    for size, reason in (("2Gi", "VolumeRefused"), ("512Mi", "VolumeShrinks")):
        ask(size)
        until(f"{size} is refused", partial(has_reason, reason), 30, cluster.explain)
        assert f"from 1Gi to {size}" in cluster.condition("Ready")["message"]
    ask("1Gi")
    cluster.wait_ready()
