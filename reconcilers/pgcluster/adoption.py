"""A new cluster from volumes of a former one (`dataSource.volumes`): Jobs copy them, and only read those.

The instances wait for the copies, and all but the first for that one: its claim gets the mark that the
primary of a deleted cluster leaves (`instances`). Once there is data, the source has no effect any more.
"""

from typing import Any

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.api.storage import VolumeSource, VolumeSources
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import AlreadyExists, NotFound
from pgoperator.kube.manifest import Manifest, annotations_of, labels_of, name_of
from pgoperator.kube.store import Store
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster import jobs, pods
from reconcilers.pgcluster.problems import Problem
from reconcilers.pgcluster.view import View

DATA, REPOSITORY = "pgdata", "pgbackrest-repo"
RETRY_SECONDS = 10.0
"""Nothing tells when a volume of somebody else is free."""
RETRIES = 3
"""For pods that were killed; a script that says that it cannot succeed ends the Job."""


def sources_of(cluster: PGCluster) -> VolumeSources | None:
    """The volumes that the cluster begins with, if any."""
    data = cluster.spec.data_source
    if data is None or data.postgres_cluster or data.pgbackrest or data.volumes is None:
        return None
    return data.volumes if data.volumes.pg_data_volume or data.volumes.pgbackrest_volume else None


def wanted(cluster: PGCluster) -> list[str]:
    """What there is to copy."""
    sources = sources_of(cluster)
    if sources is None:
        return []
    copies = {DATA: sources.pg_data_volume, REPOSITORY: sources.pgbackrest_volume}
    return [what for what, source in copies.items() if source is not None]


def pending(store: Store, cluster: PGCluster) -> bool:
    """Whether a copy is not complete."""
    jobs_of = [
        store.get(kinds.JOB, cluster.namespace, naming.move_job(cluster.name, what))
        for what in wanted(cluster)
    ]
    return any(job is None or _condition(job, "Complete") is None for job in jobs_of)


def _condition(job: Manifest, kind: str) -> Manifest | None:
    conditions = job.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == kind and c["status"] == "True"), None)


async def act(ctx: Context, view: View) -> Wait:
    """Have the volumes copied."""
    if problems := await obstacles(ctx, view.cluster):
        return Wait(problems[0].message, RETRY_SECONDS)
    for what in wanted(view.cluster):
        name = naming.move_job(view.name, what)
        if ctx.store.get(kinds.JOB, view.namespace, name) is not None:
            continue
        if what == DATA:
            await _mark(ctx, view)
        try:
            await ctx.client.create(jobs.owned(manifest(view, what), view.manifest))
        except AlreadyExists:
            continue
    return Wait("the volumes of the former cluster are copied", 600)


async def obstacles(ctx: Context, cluster: PGCluster) -> list[Problem]:
    """Volumes that are not there, or in use: a copy of data that changes is of no use. Read live."""
    sources = sources_of(cluster)
    if sources is None or not pending(ctx.store, cluster):
        return []
    named = (sources.pg_data_volume, sources.pg_wal_volume, sources.pgbackrest_volume)
    pods_now, _ = await ctx.client.list(kinds.POD, cluster.namespace)
    problems = []
    for claim in [source.pvc_name for source in named if source is not None]:
        where = f"dataSource.volumes: claim {claim!r}"
        try:
            await ctx.client.get(kinds.PVC, cluster.namespace, claim)
        except NotFound:
            problems.append(Problem("VolumeNotFound", f"{where} does not exist"))
            continue
        users = [name_of(pod) for pod in pods_now if _uses(pod, claim)]
        if users:
            problems.append(Problem("VolumeInUse", f"{where} is in use by pod {users[0]}: stop it first"))
    return problems


def _uses(pod: Manifest, claim: str) -> bool:
    """Whether a pod may write to a volume; those of Jobs end, and ours only read."""
    claims = [v.get("persistentVolumeClaim", {}).get("claimName") for v in pod["spec"].get("volumes", [])]
    ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return claim in claims and not ended and labels.MOVE_JOB not in labels_of(pod)


async def _mark(ctx: Context, view: View) -> None:
    """Have the other instances wait for the one that gets the data."""
    mark = {"metadata": {"annotations": {labels.LAST_PRIMARY: f"{view.now:%Y-%m-%dT%H:%M:%SZ}"}}}
    claim = naming.instance_volume(view.planned[0].name)
    await ctx.client.merge_patch(kinds.PVC, view.namespace, claim, mark)


def found(ctx: Context, view: View) -> list[Problem]:
    """Why a volume could not be copied."""
    problems = []
    for what in wanted(view.cluster):
        name = naming.move_job(view.name, what)
        job = ctx.store.get(kinds.JOB, view.namespace, name)
        failed = _condition(job, "Failed") if job is not None else None
        if failed is not None:
            ended = ctx.store.select(kinds.POD, view.namespace, {labels.JOB: name})
            said = next(filter(None, map(_last_words, ended)), str(failed.get("message", "")))
            text = f"Job {name} failed: {said}; correct the cause, then delete the Job to have it tried again"
            problems.append(Problem("BootstrapFailed", text))
    return problems


def _last_words(pod: Manifest) -> str:
    ends = [
        c.get("state", {}).get("terminated") or {} for c in pod.get("status", {}).get("containerStatuses", [])
    ]
    return next((str(end["message"]).strip() for end in ends if end.get("message")), "")


def manifest(view: View, what: str) -> Manifest:
    """The Job that copies the data, or the first repository."""
    sources, spec = sources_of(view.cluster), view.cluster.spec
    assert sources is not None
    source = sources.pg_data_volume if what == DATA else sources.pgbackrest_volume
    assert source is not None
    volumes = [_source("source", source)]
    if what == DATA:
        path, claim = naming.DATA_PATH, naming.instance_volume(view.planned[0].name)
        target = naming.data_directory(spec.postgres_version)
        command = ["data", target, source.directory or target.rpartition("/")[2]]
        if sources.pg_wal_volume is not None:
            volumes.append(_source("source-wal", sources.pg_wal_volume))
    else:
        repo = next((r.name for r in spec.backups.repos if r.volume is not None), None)
        if repo is None:
            raise InvalidSpec(
                "dataSource.volumes.pgBackRestVolume: the cluster has no repository on a volume"
            )
        path, claim = f"/pgbackrest/{repo}", naming.repo_volume(view.name, repo)
        command = ["repository", path, source.directory or ""]
    volumes.append({"name": "target", "persistentVolumeClaim": {"claimName": claim}})
    mounts: list[Manifest] = [{"name": "target", "mountPath": path}]
    mounts += [{"name": v["name"], "mountPath": f"/{v['name']}", "readOnly": True} for v in volumes[:-1]]
    environment = {"PGVERSION": str(spec.postgres_version)}
    if sources.pg_wal_volume is not None and sources.pg_wal_volume.directory:
        environment["WAL_FOLDER"] = sources.pg_wal_volume.directory
    container = pods.container(
        view,
        "move",
        pods.image(view, spec.image, "postgres", spec.postgres_version),
        command=pods.script("adopt.sh", *command),
        env=[{"name": name, "value": value} for name, value in environment.items()],
        volumeMounts=[*mounts, pods.SCRIPTS_MOUNT, pods.TMP_MOUNT],
    )
    return _job(view, source, what, container, [*volumes, pods.scripts_volume(view.name), pods.TMP_VOLUME])


def _source(name: str, source: VolumeSource) -> Manifest:
    return {"name": name, "persistentVolumeClaim": {"claimName": source.pvc_name}}


def _job(
    view: View, source: VolumeSource, what: str, container: Manifest, volumes: list[Manifest]
) -> Manifest:
    own: dict[str, str] = {labels.MOVE_JOB: "", labels.CRUNCHY + f"move-{what}-dir": ""}
    metadata = view.metadata(naming.move_job(view.name, what), own, source, component="")
    spec: Any = pods.pod_spec(
        view,
        source,
        containers=[container],
        volumes=volumes,
        account=None,
        selector={},
        fs_group=pods.POSTGRES_GROUP,
    )
    # The volumes say where it can run.
    del spec["topologySpreadConstraints"], spec["shareProcessNamespace"]
    end_at_refusal = {"containerName": "move", "operator": "In", "values": [1]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": RETRIES,
            "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": end_at_refusal}]},
            "template": {
                "metadata": {
                    "labels": metadata["labels"],
                    "annotations": annotations_of({"metadata": metadata}),
                },
                "spec": spec | {"restartPolicy": "Never"},
            },
        },
    }
