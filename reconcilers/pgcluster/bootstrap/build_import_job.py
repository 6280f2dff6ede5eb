"""The Jobs that copy the volumes of a former cluster. Pure."""

from typing import Any

from pgoperator import labels, naming
from pgoperator.api.storage import VolumeSource
from pgoperator.errors import InvalidSpec
from pgoperator.kube.manifest import Manifest, annotations_of
from reconcilers.pgcluster.bootstrap import decide_source
from reconcilers.pgcluster.pods import build_pod
from reconcilers.pgcluster.state.view import View

RETRIES = 3
"""For pods that were killed; a script that exits with status 1 ends the Job at once."""


def manifest(view: View, volume: str) -> Manifest:
    """The Job that copies `decide_source.DATA` or `decide_source.REPOSITORY` (the first on a volume).

    InvalidSpec when the cluster has no repository on a volume.
    """
    sources, spec = decide_source.volumes_of(view.cluster), view.cluster.spec
    assert sources is not None
    source = sources.pg_data_volume if volume == decide_source.DATA else sources.pgbackrest_volume
    assert source is not None
    volumes = [_source("source", source)]
    if volume == decide_source.DATA:
        path, claim = naming.DATA_PATH, naming.instance_volume(view.planned[0].name)
        target = naming.data_directory(spec.postgres_version)
        command = ["data", target, source.directory or target.rpartition("/")[2]]
        if sources.pg_wal_volume is not None:
            volumes.append(_source("source-wal", sources.pg_wal_volume))
    else:
        repo = next((r.name for r in view.repos if r.volume is not None), None)
        if repo is None:
            raise InvalidSpec(
                "spec.dataSource.volumes.pgBackRestVolume: spec.backups.pgbackrest.repos has no repository "
                "on a volume"
            )
        path, claim = f"/pgbackrest/{repo}", naming.repo_volume(view.name, repo)
        command = ["repository", path, source.directory or ""]
    volumes.append({"name": "target", "persistentVolumeClaim": {"claimName": claim}})
    mounts: list[Manifest] = [{"name": "target", "mountPath": path}]
    mounts += [{"name": v["name"], "mountPath": f"/{v['name']}", "readOnly": True} for v in volumes[:-1]]
    environment = {
        "PGVERSION": str(spec.postgres_version),
        "NAMESPACE": view.namespace,
        "NAME": view.name,
        "UID_OF_CLUSTER": view.cluster.metadata.uid,
    }
    if sources.pg_wal_volume is not None and sources.pg_wal_volume.directory:
        environment["WAL_FOLDER"] = sources.pg_wal_volume.directory
    container = build_pod.container(
        view,
        decide_source.IMPORT_CONTAINER,
        build_pod.image(view, spec.image, "postgres", spec.postgres_version),
        command=build_pod.script("adopt.sh", *command),
        # Under a quota, a container without any is refused. The instances wait for the Job.
        resources=spec.instance_sets()[0].resources,
        env=[{"name": name, "value": value} for name, value in environment.items()],
        volumeMounts=[*mounts, build_pod.SCRIPTS_MOUNT, build_pod.TMP_MOUNT],
    )
    return _job(
        view, source, volume, container, [*volumes, build_pod.scripts_volume(view.name), build_pod.TMP_VOLUME]
    )


def _source(name: str, source: VolumeSource) -> Manifest:
    return {"name": name, "persistentVolumeClaim": {"claimName": source.pvc_name}}


def _job(
    view: View, source: VolumeSource, volume: str, container: Manifest, volumes: list[Manifest]
) -> Manifest:
    own: dict[str, str] = {labels.MOVE_JOB: "", labels.CRUNCHY + f"move-{volume}-dir": ""}
    metadata = view.metadata(naming.move_job(view.name, volume), own, source, component="")
    spec: Any = build_pod.pod_spec(
        view,
        source,
        containers=[container],
        volumes=volumes,
        account=None,
        selector=None,  # the volumes determine the node
        fs_group=build_pod.POSTGRES_GROUP,
    )
    del spec["shareProcessNamespace"]
    end_at_refusal = {"containerName": decide_source.IMPORT_CONTAINER, "operator": "In", "values": [1]}
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
