"""The Job that restores the data of the first instance. Pure."""

from collections.abc import Mapping, Sequence

from pgoperator import labels, naming
from pgoperator.api.pgrestore import PGRestore
from pgoperator.kube.manifest import Manifest, owner_reference
from reconcilers.pgcluster.backups import build_repo_host
from reconcilers.pgcluster.bootstrap.decide_restore_gate import is_bootstrap
from reconcilers.pgcluster.instances import build_volumes
from reconcilers.pgcluster.pods import build_pod
from reconcilers.pgcluster.state.view import ClusterView
from reconcilers.pgrestore import build_settings, decide_archive, decide_check
from reconcilers.pgrestore.build_source import Source

CONTAINER = "pgbackrest-restore"
UNDO = "undo"
AGAIN = "/again"
"""End of the annotation of a Job that follows one which may have run."""
RETRIES = 6
"""Retries of killed pods; the exit statuses in `FINAL` end the Job at once.

Every pod that has ended is counted, also one whose node was drained: a Job without a count has not run.
"""
REFUSED, LOST = 1, 3
FINAL = (REFUSED, LOST)
"""Exit statuses of the script: it cannot succeed, and the former data is in place or lost."""
DEADLINE_SECONDS = 7 * 86400
"""For a script that cannot end by itself, as on a hanging volume; it ends a stalled restore sooner."""


def manifest(
    view: ClusterView,
    restore: PGRestore,
    arguments: Sequence[str],
    *,
    undo: bool = False,
    origin: Source | None = None,
) -> Manifest:
    """The Job; `arguments` are the user's options, `origin` is where a new cluster's data comes from."""
    name, instance = naming.restore_job(view.name), restore.status.instance or ""
    own = {labels.PGBACKREST_RESTORE: "", labels.PGBACKREST: "", labels.STARTUP_INSTANCE: instance}
    metadata = view.metadata(
        name, own, view.cluster.spec.backups.pgbackrest.metadata, component="", versioned=True
    )
    metadata["annotations"] = metadata.get("annotations", {}) | {
        labels.PGBACKREST_RESTORE: UNDO
        if undo
        else f"{restore.name}{AGAIN if restore.status.job_name else ''}"
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata | {"ownerReferences": [owner_reference(owner(restore))]},
        "spec": {
            "backoffLimit": RETRIES,
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [*FINAL]},
                    },
                ]
            },
            "template": {
                "metadata": {"labels": metadata["labels"]},
                "spec": _pod(view, restore, arguments, undo=undo, origin=origin),
            },
        },
    }


def owner(restore: PGRestore) -> Manifest:
    """The fields of the restore that an owner reference needs."""
    metadata = {"name": restore.name, "uid": restore.metadata.uid}
    return {"apiVersion": PGRestore.API_VERSION, "kind": PGRestore.NAMES.kind, "metadata": metadata}


def _pod(
    view: ClusterView, restore: PGRestore, arguments: Sequence[str], *, undo: bool, origin: Source | None
) -> Manifest:
    instance, spec = restore.status.instance or "", view.cluster.spec
    own = build_repo_host.instance_config(view)
    config = origin.files if origin is not None else own
    stanza = origin.stanza if origin is not None else naming.STANZA
    sets = {f"{view.name}-{each.name}": each for each in spec.instance_sets()}
    # The instance's name without the hyphen and four characters. A removed set has no settings, only data.
    instance_set = sets.get(instance[:-5])
    placement = (view.observed, instance, instance_set) if instance_set else None
    wal = build_volumes.environment(*placement, spec.postgres_version) if placement else {}
    settings = build_settings.of_job(view, origin, instance_set)
    environment = _environment(view, restore, stanza, wal, arguments)
    command = build_pod.script("restore.sh", *([f"--{UNDO}"] if undo else arguments))
    container = build_pod.container(
        view,
        CONTAINER,
        build_pod.image(view, spec.image, "postgres", spec.postgres_version),
        command=command,
        resources=settings.resources,
        volumeMounts=[
            {"name": "postgres-data", "mountPath": naming.DATA_PATH},
            {"name": config["name"], "mountPath": naming.PGBACKREST_CONF_PATH, "readOnly": True},
            {"name": "dshm", "mountPath": "/dev/shm"},  # noqa: S108 - inside the container
            *(build_volumes.mounts(*placement) if placement else ()),
            build_pod.SCRIPTS_MOUNT,
            build_pod.TMP_MOUNT,
        ],
        **build_settings.variables(view, restore, origin, environment),
    )
    claim = {"claimName": naming.instance_volume(instance)}
    result: Manifest = build_pod.pod_spec(
        view,
        settings,
        containers=[container],
        volumes=[
            {"name": "postgres-data", "persistentVolumeClaim": claim},
            config,
            {"name": "dshm", "emptyDir": {"medium": "Memory"}},
            *(build_volumes.volumes(*placement) if placement else ()),
            build_pod.scripts_volume(view.name),
            build_pod.TMP_VOLUME,
        ],
        account=None,
        selector=None,  # the volume determines the node
        fs_group=build_pod.POSTGRES_GROUP,
    )
    # A pod that is deleted has nothing to finish.
    del result["shareProcessNamespace"]
    # For an IAM role that reads the repository; the pod has no token for Kubernetes.
    identity = {"serviceAccountName": naming.instance_account(view.name)}
    return result | identity | {"restartPolicy": "Never", "terminationGracePeriodSeconds": 5}


def _environment(
    view: ClusterView, restore: PGRestore, stanza: str, more: Mapping[str, str], arguments: Sequence[str]
) -> list[Manifest]:
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
    elif is_bootstrap(restore) and decide_check.needs_end(arguments):
        values["FIND_END"] = "yes"
    if former := decide_archive.former_wal(restore, arguments):
        values["FORMER_WAL"] = former
    return [{"name": name, "value": value} for name, value in values.items()]
