"""Whose backups a new cluster may read, and what is copied for it."""

import asyncio
import configparser
from base64 import b64decode
from contextlib import nullcontext
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography import x509

from pgoperator import labels
from pgoperator.api.common import Environment
from pgoperator.api.pgrestore import PGRestore
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import AlreadyExists, Forbidden, NotFound, Unreachable
from pgoperator.kube.manifest import Kind, Manifest, controller_of, encoded, key_of, owned, owner_of
from pgoperator.settings import Settings
from reconcilers.pgcluster.bootstrap import act_clone_cleanup, decide_restore_gate
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.view import View
from reconcilers.pgrestore import act_check, act_restore, build_job, read_source
from reconcilers.pgrestore.decide_phase import Snapshot
from tests.support.instances import volume
from tests.support.pod_security import violations
from tests.support.views import CLAIM, IMAGES, NAMESPACE, NOW, cluster_manifest, filled_store, view
from tests.unit.pgcluster.observed import bootstrapped

THEIRS = "production"
S3 = {"bucket": "b", "endpoint": "e", "region": "r"}
BARE = {"stanza": "db", "repo": {"name": "repo2", "s3": S3}}
STORE = filled_store([])
KEYS = b"""[global]
repo1-cipher-pass=secret-of-repo1
 # repo1-cipher-pass = former secret-of-repo1
repo2-s3-key=id
repo2-s3-key-secret=secret-of-repo2
repo2-storage-ca-file=/etc/pgbackrest/conf.d/store-ca.crt
"""


class Client:
    """It has some objects, and keeps what is asked of it."""

    def __init__(self, *objects: Manifest) -> None:
        self.objects = {key_of(manifest): manifest for manifest in objects}
        self.created: list[Manifest] = []
        self.deleted: list[str] = []
        self.error: Exception | None = None

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        if self.error is not None and namespace != NAMESPACE:
            raise self.error
        found = [
            m
            for k, m in self.objects.items()
            if (k.kind, k.namespace, k.name) == (kind.kind, namespace, name)
        ]
        if not found:
            raise NotFound(404, "NotFound", "not found", kind.kind, namespace, name)
        return found[0]

    async def list(self, kind: Kind, namespace: str, **_: Any) -> tuple[list[Manifest], str]:
        return [m for k, m in self.objects.items() if (k.kind, k.namespace) == (kind.kind, namespace)], ""

    async def create(self, manifest: Manifest) -> Manifest:
        key = key_of(manifest)
        if key in self.objects:
            raise AlreadyExists(409, "AlreadyExists", "exists")
        data = {name: text.encode() for name, text in manifest.get("stringData", {}).items()}
        stored = {"metadata": manifest["metadata"] | {"uid": f"uid-of-{key.name}"}, "data": encoded(data)}
        self.objects[key] = manifest | stored
        self.created.append(manifest)
        return self.objects[key]

    async def apply(self, manifest: Manifest, owner: Manifest) -> None:
        self.objects[key_of(manifest)] = owned(manifest, owner)

    async def delete(self, kind: Kind, _namespace: str, name: str, **_: Any) -> None:
        self.deleted.append(f"{kind.kind} {name}")


def origin(consent: str | None, namespace: str = THEIRS) -> Manifest:
    """A cluster with repo1 on a volume and repo2 in an object store."""
    configuration = [{"secret": {"name": "keys"}}, {"configMap": {"name": "more", "optional": True}}]
    volume = {
        "volumeClaimSpec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    }
    pgbackrest = {
        "configuration": configuration,
        "global": {"repo1-retention-full": "3", "repo2-path": "/theirs"},
        "repos": [{"name": "repo1", "volume": volume}, {"name": "repo2", "s3": S3}],
    }
    manifest = cluster_manifest(backups={"pgbackrest": pgbackrest})
    annotations = {} if consent is None else {labels.ALLOW_CLONE_FROM: consent}
    manifest["metadata"] |= {"name": "origin", "namespace": namespace, "annotations": annotations}
    return manifest


def objects(consent: str | None, namespace: str = THEIRS) -> list[Manifest]:
    files = {"s3.conf": KEYS, "store-ca.crt": b"ca", "gcs-key.json": b"key of another repository"}
    meta = {"name": "keys", "namespace": namespace}
    return [
        origin(consent, namespace),
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": encoded(files)},
    ]


def bootstrap(phase: str = "Stopping", uid: str = "u", name: str = "cluster1-bootstrap") -> PGRestore:
    return PGRestore.parse(
        {
            "apiVersion": "pgv2.percona.com/v2",
            "kind": "PerconaPGRestore",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "uid": uid,
                "annotations": {labels.BOOTSTRAP_RESTORE: "true"},
            },
            "spec": {"pgCluster": "cluster1", "repoName": "repo2"},
            "status": {"state": "Starting", "phase": phase, "instance": "cluster1-instance1-bcdf"},
        }
    )


def create(
    client: Client,
    restore: PGRestore,
    *,
    undo: bool = False,
    waits: str = "",
    now: datetime = NOW,
    **source: Any,
) -> None:
    wanted = {"clusterName": "origin", "clusterNamespace": THEIRS, "repoName": "repo2"} | source
    new = view(dataSource={"postgresCluster": wanted})
    settings = Settings(images=IMAGES)
    parts = SimpleNamespace(client=client, applier=client, store=STORE, settings=settings, clock=lambda: now)
    ctx = cast("Context", parts)
    reason = asyncio.run(act_restore.create_job(ctx, restore, new, undo=undo))
    assert (reason or "") == waits or (waits and waits in (reason or "")), reason


def refusal(client: Client, **source: Any) -> InvalidSpec:
    """The refusal of a restore whose author has written a status as if it had begun."""
    before = dict(client.objects)
    with pytest.raises(InvalidSpec) as refused:
        create(client, bootstrap("Restoring"), **source)
    assert (client.objects, client.created) == (before, [])
    return refused.value


def copied(client: Client) -> dict[str, str]:
    """The files of the only Secret of the new cluster's namespace."""
    [copy] = [m for k, m in client.objects.items() if (k.namespace, k.kind) == (NAMESPACE, "Secret")]
    assert (copy["kind"], copy["metadata"]["name"]) == ("Secret", "cluster1-pgbackrest-restore-config")
    return {name: b64decode(value).decode() for name, value in copy["data"].items()}


@pytest.mark.parametrize(
    "consent", [None, "", "other", "*", f"{NAMESPACE}-2", f"x{NAMESPACE}", f"a {NAMESPACE}"]
)
def test_another_namespace_gives_nothing_without_its_consent(consent: str | None) -> None:
    error = refusal(Client(*objects(consent)))
    assert error.reason == "CloneNotAllowed"
    assert labels.ALLOW_CLONE_FROM in str(error)


def test_a_refusal_does_not_show_whether_the_cluster_exists() -> None:
    """Also not its repositories, its Secrets, or whether its spec is valid."""
    broken = origin(None)
    broken["spec"] = {"postgresVersion": "none"}
    worlds = [Client(), Client(origin("other")), Client(*objects(None)), Client(broken)]
    texts = {str(refusal(one, repoName=repo)) for one in worlds for repo in ("repo1", "repo2", "repo4")}
    assert len(texts) == 1


def test_an_error_is_not_an_absence() -> None:
    client = Client()
    client.error = Forbidden(403, "Forbidden", "may not", "PerconaPGCluster", THEIRS, "origin")
    assert "cannot be read" in str(refusal(client))
    client.error = Unreachable("connection lost")
    with pytest.raises(Unreachable):
        create(client, bootstrap())


def test_with_consent_only_what_one_repository_needs_is_copied() -> None:
    client = Client(*objects(f"other, {NAMESPACE}"))
    create(client, bootstrap())
    files = copied(client)
    assert set(files) == {"s3.conf", "store-ca.crt", "pgbackrest_instance.conf"}
    everything = "\n".join(files.values())
    assert "secret-of-repo2" in everything
    assert "/theirs" in everything
    for other in ("repo1", "tls", "host", "client", ".key"):
        assert other not in everything, other
    parser = configparser.ConfigParser(interpolation=None)
    for name in ("s3.conf", "pgbackrest_instance.conf"):
        parser.read_string(files[name])
    assert parser["global"]["repo2-s3-bucket"] == "b"


def test_the_job_mounts_the_copy_and_nothing_else_of_the_source() -> None:
    client = Client(*objects(NAMESPACE))
    create(client, bootstrap())
    [job] = client.created
    volumes = {volume["name"]: volume for volume in job["spec"]["template"]["spec"]["volumes"]}
    sources = volumes["pgbackrest-config"]["projected"]["sources"]
    assert sources == [{"secret": {"name": "cluster1-pgbackrest-restore-config"}}]


SERVER = "origin-clone-"


def ready(client: Client) -> None:
    """Let the pod of the server become ready."""
    [job] = [m for k, m in client.objects.items() if k.namespace == THEIRS and k.kind == "Job"]
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": THEIRS},
        "status": status,
    }
    client.objects[key_of(pod)] = owned(pod, job)


def test_a_repository_on_a_volume_is_served_by_a_job_of_its_own() -> None:
    """The key of the source's repository host would open its databases."""
    client = Client(*objects(NAMESPACE))
    for _ in range(2):
        create(client, bootstrap(), repoName="repo1", waits="to serve repo1")
    job, secret = client.created
    assert [k.kind for k in client.objects if k.namespace == NAMESPACE] == [], "nothing is copied before"
    for one in (job, secret):
        assert one["metadata"]["namespace"] == THEIRS
        assert one["metadata"]["name"].startswith(SERVER)
    assert controller_of(job)["name"] == "origin"  # type: ignore[index]
    assert owner_of(secret) == f"uid-of-{job['metadata']['name']}"
    # The operator has no right on finalizers of Jobs, which OpenShift demands for a reference that blocks.
    assert not controller_of(secret)["blockOwnerDeletion"]  # type: ignore[index]
    ready(client)
    create(client, bootstrap(), repoName="repo1")
    files = copied(client)
    kept = {"pgbackrest_instance.conf", "s3.conf", "tls-ca.crt", "client-tls.crt", "client-tls.key"}
    assert set(files) == kept
    assert "secret-of-repo1" in files["s3.conf"]
    assert "repo2" not in files["s3.conf"] + files["pgbackrest_instance.conf"]
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(files["pgbackrest_instance.conf"])
    host = parser["global"]["repo1-host"]
    assert host == f"{job['metadata']['name']}.origin-pods.{THEIRS}.svc"
    pod = job["spec"]["template"]["spec"]
    assert f"{pod['hostname']}.{pod['subdomain']}.{THEIRS}.svc" == host
    assert parser["global"]["repo1-host-key-file"] == "/etc/pgbackrest/conf.d/client-tls.key"
    names = x509.load_pem_x509_certificate(secret["stringData"]["server-tls.crt"].encode())
    assert host in str(names.extensions)


def test_the_server_has_nothing_but_one_repository_and_keys_of_its_own() -> None:
    """A client of pgBackRest's server reads and writes every file that the server can."""
    client = Client(*objects(NAMESPACE))
    create(client, bootstrap(), repoName="repo1", waits="to serve repo1")
    job, secret = client.created
    pod = job["spec"]["template"]["spec"]
    assert violations(pod) == []
    assert not pod["automountServiceAccountToken"]
    assert not pod["shareProcessNamespace"]
    [container] = pod["containers"]
    assert not container.get("env")
    assert not container.get("envFrom")
    [repo] = [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/pgbackrest/repo1"]
    assert repo["readOnly"]
    secrets = {s["secret"]["name"] for v in pod["volumes"] for s in v.get("projected", {}).get("sources", [])}
    assert secrets == {secret["metadata"]["name"]}
    claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
    assert claims == ["origin-repo1"]
    assert [v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v] == ["origin-scripts"]
    near = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert near[0]["labelSelector"]["matchLabels"] == labels.repo_host("origin")


def test_consent_that_is_withdrawn_before_the_copy_stops_a_restore() -> None:
    client = Client(*objects(NAMESPACE))
    create(client, bootstrap(), repoName="repo1", waits="to serve repo1")
    ready(client)
    client.objects |= {key_of(one): one for one in objects(None)}
    with pytest.raises(InvalidSpec, match=labels.ALLOW_CLONE_FROM):
        create(client, bootstrap(), repoName="repo1")


def test_a_job_of_the_source_s_namespace_is_not_taken_for_the_server() -> None:
    client = Client(*objects(NAMESPACE))
    create(client, bootstrap(), repoName="repo1", waits="to serve repo1")
    [key] = [key for key in client.objects if key.kind == "Job"]
    client.objects[key]["metadata"]["annotations"] = {}
    with pytest.raises(InvalidSpec, match="is not for this restore"):
        create(client, bootstrap(), repoName="repo1")


ENDED = {"state": "Failed"}


@pytest.mark.parametrize(
    ("status", "uid", "ends"),
    [({"state": "Running"}, "u", False), (ENDED, "u", True), ({}, "later", True), (None, "", True)],
)
def test_the_source_ends_a_server_with_its_restore(status: Manifest | None, uid: str, ends: bool) -> None:
    client = Client(*objects(NAMESPACE))
    create(client, bootstrap(), repoName="repo1", waits="to serve repo1")
    [job] = [m for k, m in client.objects.items() if k.kind == "Job"]
    if status is not None:
        found = bootstrap(uid=uid).model_dump(mode="json", by_alias=True) | {"status": status}
        kind = {"apiVersion": "pgv2.percona.com/v2", "kind": "PerconaPGRestore"}
        client.objects[key_of(found | kind)] = found | kind
    store = filled_store([job])
    manifest = origin(None)
    cluster = SimpleNamespace(metadata=SimpleNamespace(uid=manifest["metadata"]["uid"]))
    seen = cast("View", SimpleNamespace(name="origin", namespace=THEIRS, cluster=cluster))
    ctx = cast("Context", SimpleNamespace(client=client, store=store))
    asyncio.run(act_clone_cleanup.act(ctx, seen, ClusterCache()))
    assert client.deleted == ([f"Job {job['metadata']['name']}"] if ends else [])


@pytest.mark.parametrize("written", ["", "a", "a/", "//", "../x/y/z"])
async def test_a_server_for_nobody_is_ended(written: str) -> None:
    client = Client(*objects(NAMESPACE))
    job = {"metadata": {"annotations": {labels.CLONE_FOR: written}}}
    assert await act_clone_cleanup._has_ended(cast("Context", SimpleNamespace(client=client)), job)


@pytest.mark.parametrize("undo", [False, True])
def test_a_bootstrap_that_has_begun_can_end_without_consent(undo: bool) -> None:
    client = Client(*objects(NAMESPACE))
    create(client, bootstrap())
    for one in [*objects(None), client.created[0]]:
        del client.objects[key_of(one)]
    create(client, bootstrap("Restoring"), undo=undo)
    assert len(client.created) == 2


def test_another_restore_does_not_use_the_copy() -> None:
    client = Client(*objects(NAMESPACE))
    create(client, bootstrap())
    client.objects |= {key_of(one): one for one in objects(None)}
    with pytest.raises(InvalidSpec, match=labels.ALLOW_CLONE_FROM):
        create(client, bootstrap(uid="later"))


def test_the_copy_goes_with_its_own_restore_only() -> None:
    client = Client(*objects(NAMESPACE))
    ctx = cast("Context", SimpleNamespace(client=client))
    asyncio.run(read_source.remove_copy(ctx, bootstrap()))
    create(client, bootstrap())
    asyncio.run(read_source.remove_copy(ctx, bootstrap(uid="later")))
    assert client.deleted == []
    asyncio.run(read_source.remove_copy(ctx, bootstrap()))
    assert client.deleted == ["Secret cluster1-pgbackrest-restore-config"]


def test_a_job_of_somebody_else_is_neither_used_nor_deleted() -> None:
    name = {"name": "cluster1-pgbackrest-restore", "namespace": NAMESPACE}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": name}
    client = Client(*objects(NAMESPACE), job)
    with pytest.raises(InvalidSpec, match="does not belong to the cluster") as refused:
        create(client, bootstrap())
    assert refused.value.reason == "NameTaken"
    assert client.deleted == []


def test_the_end_of_a_restore_takes_back_what_was_shared() -> None:
    client = Client(*objects(NAMESPACE))
    create(client, bootstrap(), repoName="repo1", waits="to serve repo1")
    ready(client)
    create(client, bootstrap(), repoName="repo1")
    server = client.created[0]["metadata"]["name"]
    source = {"clusterName": "origin", "clusterNamespace": THEIRS, "repoName": "repo1"}
    store = filled_store([cluster_manifest(dataSource={"postgresCluster": source})])
    ctx = cast("Context", SimpleNamespace(client=client, store=store))
    for uid, deleted in (
        ("later", []),
        ("u", ["Secret cluster1-pgbackrest-restore-config", f"Job {server}"]),
    ):
        asyncio.run(act_restore.release_source(ctx, bootstrap(uid=uid)))
        assert client.deleted == deleted
    client.error = Forbidden(403, "Forbidden", "may not")
    asyncio.run(act_restore.release_source(ctx, bootstrap()))
    invalid = filled_store([cluster_manifest(postgresVersion="none")])
    for other in (invalid, filled_store([])):
        ctx = cast("Context", SimpleNamespace(client=client, store=other))
        asyncio.run(act_restore.release_source(ctx, bootstrap()))


def test_a_neighbour_needs_no_consent() -> None:
    client = Client(origin(None, NAMESPACE))
    create(client, bootstrap(), repoName="repo1", clusterNamespace=NAMESPACE)
    [job] = client.created
    assert "origin-pgbackrest" in str(job)
    assert build_job.CONTAINER in str(job)
    assert [k.kind for k in client.objects] == [kinds.PG_CLUSTER.kind, "Job"]


def check(restore: PGRestore, *found: Manifest, **source: Any) -> Any:
    """The check of a restore of a cluster that was created from a backup."""
    one = view(list(found), dataSource=source or {"pgbackrest": BARE})
    nothing: Any = None
    stored = filled_store([one.manifest])
    ctx = Context(cast("Any", Client()), stored, nothing, nothing, Settings(), lambda: NOW)
    seen = Snapshot(now=NOW, uid="u")
    return asyncio.run(act_check.check(ctx, restore, seen, one.observed))


def test_the_annotation_of_a_bootstrap_does_not_fill_a_cluster_that_has_data() -> None:
    """It would stop every instance without the checks of a restore in place."""
    claim = volume("cluster1-instance1-bcdf")
    with pytest.raises(InvalidSpec, match="has data") as refused:
        check(bootstrap("Checking"), claim, bootstrapped())
    assert refused.value.reason == "ClusterHasData"


def test_the_annotation_means_nothing_on_an_object_of_another_name() -> None:
    with pytest.raises(InvalidSpec, match="has no repository"):
        check(bootstrap("Checking", name="mine"))
    for name, counts in (("cluster1-bootstrap", True), ("mine", False)):
        assert decide_restore_gate.is_bootstrap(bootstrap(name=name)) is counts
        manifest = bootstrap("Checking", name=name).model_dump(mode="json", by_alias=True)
        stored = filled_store([manifest | {"apiVersion": "pgv2.percona.com/v2", "kind": "PerconaPGRestore"}])
        active = decide_restore_gate.active(stored, NAMESPACE, "cluster1", has_data=False)
        assert (active is not None) is counts


def test_a_variable_that_runs_code_ends_a_restore_before_anything_stops() -> None:
    options = Environment.model_validate({"env": [{"name": "BASH_ENV", "value": "$(id)"}]})
    for name in ("mine", "cluster1-bootstrap"):
        restore = bootstrap("Checking", name=name)
        hostile = restore.spec.model_copy(update={"container_options": options})
        with pytest.raises(InvalidSpec, match="'BASH_ENV' is not allowed"):
            check(restore.model_copy(update={"spec": hostile}))


@pytest.mark.parametrize(
    ("images", "section", "why"),
    [
        ({}, {}, "MissingRequiredImage"),
        (IMAGES, {"securityContext": {"sysctls": [{"name": "kernel.core_pattern"}]}}, "PrivilegeRefused"),
        (IMAGES, {}, ""),
    ],
)
def test_a_job_that_cannot_be_built_ends_a_restore_before_anything_stops(
    images: Any, section: Any, why: str
) -> None:
    repos = [{"name": "repo1", "volume": {"volumeClaimSpec": CLAIM}}]
    one = view(backups={"pgbackrest": {"repos": repos, "jobs": section}})
    nothing: Any = None
    stored = filled_store([one.manifest])
    ctx = Context(cast("Any", Client()), stored, nothing, nothing, Settings(images=images), lambda: NOW)
    with pytest.raises(InvalidSpec) if why else nullcontext() as refused:
        act_check._check_job(
            ctx, bootstrap(name="mine"), one.cluster, one.observed, "cluster1-instance1-bcdf"
        )
    assert refused is None or refused.value.reason == why


def test_instances_that_could_not_start_again_end_a_restore_before_anything_stops() -> None:
    """A cluster from before the refusal runs on with such a volume, but its StatefulSets would not return."""
    host = [{"name": "host", "hostPath": {"path": "/"}}]
    sets = [{"name": "instance1", "replicas": 1, "dataVolumeClaimSpec": CLAIM, "sidecarVolumes": host}]
    one = view(instances=sets)
    nothing: Any = None
    stored = filled_store([one.manifest])
    ctx = Context(cast("Any", Client()), stored, nothing, nothing, Settings(images=IMAGES), lambda: NOW)
    with pytest.raises(InvalidSpec, match="hostPath is not allowed"):
        act_check._check_job(
            ctx, bootstrap(name="mine"), one.cluster, one.observed, "cluster1-instance1-bcdf"
        )


@pytest.mark.parametrize("namespace", [NAMESPACE, THEIRS])
@pytest.mark.parametrize("time", ["12:30", "13:30"])
def test_a_clone_to_a_moment_that_its_source_has_left_is_refused(namespace: str, time: str) -> None:
    """Recovery follows the newest timeline, whatever cluster it fills."""
    earlier = {
        "apiVersion": "pgv2.percona.com/v2",
        "kind": "PerconaPGRestore",
        "metadata": {"name": "first", "namespace": namespace, "uid": "first"},
        "spec": {
            "pgCluster": "origin",
            "repoName": "repo2",
            "options": ["--type=time", "--target=2026-01-01T12:00:00Z"],
        },
        "status": {"state": "Succeeded", "completed": "2026-01-01T13:00:00Z"},
    }
    source = {"clusterName": "origin", "clusterNamespace": namespace, "repoName": "repo2"}
    one, nothing = view(dataSource={"postgresCluster": source}), cast("Any", None)
    client, stored = (
        cast("Any", Client(*objects(NAMESPACE, namespace))),
        filled_store([one.manifest, earlier]),
    )
    ctx = Context(client, stored, nothing, nothing, Settings(), lambda: NOW)
    restore = bootstrap("Checking")
    options = {"options": ("--type=time", f"--target=2026-01-01T{time}:00Z")}
    restore = restore.model_copy(update={"spec": restore.spec.model_copy(update=options)})
    wanted = "AmbiguousTimeline" if time == "12:30" else "the repository is asked"
    with pytest.raises((InvalidSpec, AttributeError)) as refused:
        asyncio.run(act_check.check(ctx, restore, Snapshot(now=NOW, uid="u"), one.observed))
    assert getattr(refused.value, "reason", "the repository is asked") == wanted
