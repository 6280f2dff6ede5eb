"""The Job that restores the data of the first instance."""

from collections.abc import Mapping, Sequence
from typing import Any

from pgoperator import labels, naming
from pgoperator.api.pgrestore import PGRestore
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster import pods, repository, volumes
from reconcilers.pgcluster.view import Planned, View
from reconcilers.pgrestore.source import Source

CONTAINER = "pgbackrest-restore"
UNDO = "undo"
RETRIES = 3
"""For pods that were killed; a script that says that it cannot succeed ends the Job."""
DEADLINE_SECONDS = 7 * 86400
"""For what the script cannot end by itself: a volume that hangs. One that stands still ends much sooner."""


def manifest(
    view: View,
    restore: PGRestore,
    words: Sequence[str],
    *,
    undo: bool = False,
    origin: Source | None = None,
) -> Manifest:
    """The Job; `words` are the user's options, `origin` is where a new cluster's data comes from."""
    name, instance = naming.restore_job(view.name), restore.status.instance or ""
    own = {labels.PGBACKREST_RESTORE: "", labels.PGBACKREST: "", labels.STARTUP_INSTANCE: instance}
    metadata = view.metadata(name, own, view.cluster.spec.backups.pgbackrest.metadata, component="")
    metadata["annotations"] = metadata.get("annotations", {}) | {
        labels.PGBACKREST_RESTORE: UNDO if undo else restore.name
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata | {"ownerReferences": [_reference(restore)]},
        "spec": {
            "backoffLimit": RETRIES,
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [1]},
                    },
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
                ]
            },
            "template": {
                "metadata": {"labels": metadata["labels"]},
                "spec": _pod(view, restore, words, undo=undo, origin=origin),
            },
        },
    }


def owner(restore: PGRestore) -> Manifest:
    """The restore, as much of it as an owner reference is made of."""
    metadata = {"name": restore.name, "uid": restore.metadata.uid}
    return {"apiVersion": PGRestore.API_VERSION, "kind": PGRestore.NAMES.kind, "metadata": metadata}


def _reference(restore: PGRestore) -> Manifest:
    found = owner(restore)
    metadata: Manifest = found.pop("metadata")
    return {**found, **metadata, "controller": True, "blockOwnerDeletion": True}


def _pod(
    view: View, restore: PGRestore, words: Sequence[str], *, undo: bool, origin: Source | None
) -> Manifest:
    instance, spec = restore.status.instance or "", view.cluster.spec
    jobs: Any = origin.placement if origin is not None else spec.backups.pgbackrest.jobs
    own = repository.instance_volumes(view, Planned(instance, ""))[0]
    config = origin.files if origin is not None else own
    stanza = origin.stanza if origin is not None else naming.STANZA
    # A new cluster's variables are those of its dataSource.
    extra = restore.spec.container_options or (jobs if origin is not None else None)
    sets = {f"{view.name}-{one.name}": one for one in spec.instance_sets()}
    # The name without its hyphen and four characters; a set that is gone has nothing but data.
    instance_set = sets.get(instance[:-5])
    beside = (view.observed, instance, instance_set) if instance_set else None
    variables = volumes.environment(*beside, spec.postgres_version) if beside else {}
    command = pods.script("restore.sh", *([f"--{UNDO}"] if undo else words))
    container = pods.container(
        view,
        CONTAINER,
        pods.image(view, spec.image, "postgres", spec.postgres_version),
        command=command,
        env=[*_extra(extra, "env"), *_environment(view, restore, stanza, variables)],
        envFrom=_extra(extra, "env_from"),
        resources=jobs.resources,
        volumeMounts=[
            {"name": "postgres-data", "mountPath": naming.DATA_PATH},
            {"name": config["name"], "mountPath": naming.PGBACKREST_CONF_PATH, "readOnly": True},
            {"name": "dshm", "mountPath": "/dev/shm"},  # noqa: S108 - inside the container
            *(volumes.mounts(*beside) if beside else ()),
            pods.SCRIPTS_MOUNT,
            pods.TMP_MOUNT,
        ],
    )
    claim = {"claimName": naming.instance_volume(instance)}
    result: Manifest = pods.pod_spec(
        view,
        jobs,
        containers=[container],
        volumes=[
            {"name": "postgres-data", "persistentVolumeClaim": claim},
            config,
            {"name": "dshm", "emptyDir": {"medium": "Memory"}},
            *(volumes.volumes(*beside) if beside else ()),
            pods.scripts_volume(view.name),
            pods.TMP_VOLUME,
        ],
        account=None,
        selector=pods.database_selector(view.name),
        fs_group=pods.POSTGRES_GROUP,
    )
    # The volume says where the pod can run. One that is told to stop has nothing to finish.
    del result["topologySpreadConstraints"], result["shareProcessNamespace"]
    return result | {"restartPolicy": "Never", "terminationGracePeriodSeconds": 5}


def _extra(options: Any, name: str) -> list[Any]:
    return list(getattr(options, name, None) or [])


def _environment(view: View, restore: PGRestore, stanza: str, more: Mapping[str, str]) -> list[Manifest]:
    values = {
        **more,
        "PGDATA": naming.data_directory(view.cluster.spec.postgres_version),
        "PGVERSION": str(view.cluster.spec.postgres_version),
        "RESTORE_ID": restore.metadata.uid,
        "REPO": (restore.spec.repo_name or "repo1").removeprefix("repo"),
        "STANZA": stanza,
    }
    if restore.status.wal_last:
        values["WAL_LAST"] = restore.status.wal_last
    return [{"name": name, "value": value} for name, value in values.items()]
