"""What the user adds to pods: what is refused, and what a change of a referenced object does."""

from dataclasses import replace
from typing import Any

import pytest

from pgoperator import labels
from pgoperator.kube.manifest import Manifest, annotations_of, name_of
from reconcilers.pgcluster import pipeline
from reconcilers.pgcluster.backups import build_jobs
from reconcilers.pgcluster.pods import build_customization
from reconcilers.pgcluster.state.view import Reference
from tests.support.views import CLAIM, view
from tests.unit.pgcluster.specs import ADDED, backups, helper, instances

SETTINGS, PASSWORD = Reference("ConfigMap", "settings", ""), Reference("Secret", "login", "password")
REFERENCES = {
    "envFrom": [{"configMapRef": {"name": "settings"}}],
    "env": [{"name": "LOGIN", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}}],
}


def mount(path: str, name: str = "shared") -> dict[str, Any]:
    return {"name": name, "mountPath": path}


def extra_volume(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "volumeSource": {"emptyDir": {}}, "mounts": [{"mountPath": path}]}


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"env": [{"name": "PATRONI_SCOPE", "value": "x"}]}, "PATRONI_SCOPE"),
        ({"env": [{"name": "PGDATA", "value": "x"}]}, "PGDATA"),
        ({"env": [{"name": "PGOPTIONS", "value": "x"}]}, "PGOPTIONS"),
        ({"env": [{"name": "LC_ALL", "value": "x"}]}, "LC_ALL"),
        ({"sidecars": [helper("database", "shared")]}, "container 'database'"),
        ({"sidecars": [helper("pgbackrest", "shared")]}, "container 'pgbackrest'"),
        ({"initContainers": [helper("tail", "shared")]}, "container 'tail'"),
        ({"sidecarVolumes": [{"name": "tmp", "emptyDir": {}}]}, "volume 'tmp'"),
        ({"extraVolumes": [extra_volume("shared", "/x")]}, "volume 'shared'"),
        ({"extraVolumes": [extra_volume("x", "/pgdata/pg17")]}, "path '/pgdata/pg17'"),
        ({"volumeMounts": [mount("/etc")]}, "path '/etc'"),
        ({"volumeMounts": [mount("/tmp/")]}, "path '/tmp/'"),
        ({"volumeMounts": [mount("/x"), mount("/x")]}, "path '/x'"),
        ({"sidecarPVCs": [{"name": "cluster1-repo1", "spec": CLAIM}]}, "claim 'cluster1-repo1'"),
        ({"sidecarPVCs": [{"name": "cluster1-a-pgdata", "spec": CLAIM}]}, "claim 'cluster1-a-pgdata'"),
    ],
)
def test_a_name_of_ours_is_refused(fields: dict[str, Any], word: str) -> None:
    answers = pipeline.build(view(instances=instances(**(ADDED | fields))))
    [problem] = answers.problems
    assert problem.reason == build_customization.REASON
    assert "spec.instances[0]" in problem.message
    assert word in problem.message
    assert {"Deployment", "ConfigMap"} <= {m["kind"] for m in answers.manifests}


def test_variables_of_pgbackrest_are_free() -> None:
    env = [{"name": "PGBACKREST_REPO1_S3_KEY", "value": "x"}]
    assert pipeline.build(view(instances=instances(env=env))).complete


def test_a_mount_without_a_volume_is_refused() -> None:
    for fields in ({"volumeMounts": [mount("/x", "nowhere")]}, {"sidecars": [helper("a", "nowhere")]}):
        [problem] = pipeline.build(view(instances=instances(**fields))).problems
        assert problem.reason == "VolumeUnknown"
        assert "'nowhere'" in problem.message


def test_a_claim_is_asked_for_in_one_way_and_given_once() -> None:
    def host(spec: Manifest) -> Manifest:
        return {"repoHost": {"sidecarPVCs": [{"name": "notes", "spec": spec}]}}

    wanted = instances(sidecarPVCs=[{"name": "notes", "spec": CLAIM}])
    shared = pipeline.build(view(instances=wanted, backups=backups(**host(CLAIM))))
    assert [name_of(m) for m in shared.manifests].count("notes") == 1
    other = CLAIM | {"storageClassName": "fast"}
    problems = pipeline.build(view(instances=wanted, backups=backups(**host(other)))).problems
    assert {problem.reason for problem in problems} == {build_customization.REASON}


def digests(referenced: dict[Reference, str], **fields: Any) -> dict[str, str | None]:
    """By workload: the digest of what its variables are taken from."""
    one = replace(view(instances=instances(**fields)), referenced=referenced)
    return {
        name_of(m): annotations_of(m["spec"]["template"]).get(labels.REFERENCED)
        for m in pipeline.build(one).manifests
        if m["kind"] in ("StatefulSet", "Deployment")
    }


def test_a_change_of_what_is_referenced_changes_the_template_of_those_who_use_it() -> None:
    known = {SETTINGS: "a", PASSWORD: "b"}
    assert set(digests(known).values()) == {None}
    before, after = digests(known, **REFERENCES), digests(known | {PASSWORD: "c"}, **REFERENCES)
    [instance] = [name for name in before if before[name] != after[name]]
    assert instance.startswith("cluster1-instance1-")
    assert before[instance]
    in_sidecar = {"sidecars": [helper("a", "postgres-data", **REFERENCES)]}
    assert digests(known, **in_sidecar)[instance]


@pytest.mark.parametrize("missing", [SETTINGS, PASSWORD])
def test_what_is_missing_is_named_and_leaves_the_pods_as_they_are(missing: Reference) -> None:
    known = {one: "x" for one in (SETTINGS, PASSWORD) if one != missing}
    one = replace(view(instances=instances(**REFERENCES)), referenced=known)
    answers = pipeline.build(one)
    [problem] = answers.problems
    assert problem.reason == f"{missing.kind}Missing"
    assert repr(missing.name) in problem.message
    assert not [m for m in answers.manifests if name_of(m).startswith("cluster1-instance1-") and "spec" in m]


def test_what_is_optional_may_be_missing() -> None:
    fields = {"envFrom": [{"secretRef": {"name": "later", "optional": True}}]}
    before, after = digests({}, **fields), digests({Reference("Secret", "later", ""): "x"}, **fields)
    assert [name for name in before if before[name] != after[name]]


def test_a_job_s_own_variables_win_over_those_of_pgbackrest() -> None:
    general = [{"name": "A", "value": "general"}, {"name": "B", "value": "general"}]
    one = view(backups=backups(env=general))
    made = build_jobs.job(one, "j", {}, {}, ["x"], seconds=1, extra={"env": [{"name": "B", "value": "own"}]})
    [container] = made["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "A", "value": "general"}, {"name": "B", "value": "own"}]
