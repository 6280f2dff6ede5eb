"""The manifests of Jobs that run pgBackRest on the repositories. Pure.

A Job runs on the node of the repository host, mounts the same volumes, and has its configuration and
certificate. It executes nothing in other pods, so it continues while the operator or the API server is down.
"""

from collections.abc import Mapping
from typing import Any

from pgoperator import labels, naming
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.backups import build_repo_host
from reconcilers.pgcluster.pods import build_pod
from reconcilers.pgcluster.state.view import ClusterView


def deadline(view: ClusterView, least: int, speed: int) -> int:
    """Seconds for a Job whose work grows with the data: all of it at `speed` (bytes a second), or `least`.

    The size is that of the largest instance's volumes for data and tablespaces.
    """
    sizes = (
        build_pod.size(one.data_volume_claim_spec)
        + sum(build_pod.size(each.data_volume_claim_spec) for each in one.tablespace_volumes)
        for one in view.cluster.spec.instance_sets()
    )
    return max(least, max(sizes, default=0) // speed)


def job(
    view: ClusterView,
    name: str,
    own: Mapping[str, str],
    annotations: Mapping[str, str],
    command: list[str],
    *,
    seconds: int,
    extra: Mapping[str, Any] | None = None,
) -> Manifest:
    """A Job of pgBackRest; `seconds` is its deadline, `own` its labels, `extra` fields of its container."""
    settings = view.cluster.spec.backups.pgbackrest
    marks = {labels.DEFAULT_CONTAINER: naming.PGBACKREST_CONTAINER} | dict(annotations)
    metadata = view.metadata(name, own, settings.metadata, component="", annotations=marks, versioned=True)
    template = {key: metadata[key] for key in ("labels", "annotations") if key in metadata}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "activeDeadlineSeconds": seconds,
            "backoffLimit": settings.jobs.backoff_limit or 0,
            "template": {"metadata": template, "spec": _pod(view, command, extra or {})},
        },
    }


def _pod(view: ClusterView, command: list[str], extra: Mapping[str, Any]) -> Manifest:
    settings = view.cluster.spec.backups.pgbackrest
    mounts, volumes = build_repo_host.storage(view)
    container = build_pod.container(
        view,
        naming.PGBACKREST_CONTAINER,
        build_pod.image(view, settings.image, "pgbackrest"),
        command=command,
        resources=settings.jobs.resources,
        volumeMounts=[*mounts, build_repo_host.CONFIG_MOUNT, build_pod.SCRIPTS_MOUNT, build_pod.TMP_MOUNT],
        **{**extra, **_variables(view, extra)},
    )
    # The repository host writes to the same volumes: its security context is the default for Jobs.
    security = settings.jobs.security_context or settings.repo_host.security_context
    component = settings.jobs.model_copy(
        update={
            "security_context": security,
            "tolerations": (*settings.jobs.tolerations, *settings.repo_host.tolerations),
            "affinity": near_repo_host(view)
            if mounts and view.observed.repo_host_pod
            else settings.jobs.affinity,
        }
    )
    spec = build_pod.pod_spec(
        view,
        component,
        containers=[container],
        volumes=[
            *volumes,
            build_repo_host.client_volume(view),
            build_pod.scripts_volume(view.name),
            build_pod.TMP_VOLUME,
        ],
        account=naming.pgbackrest(view.name),
        selector=None,  # the volumes determine the node
        fs_group=build_pod.POSTGRES_GROUP,
    )
    restart = settings.jobs.restart_policy or "Never"
    return spec | {"restartPolicy": restart, "shareProcessNamespace": False}


def _variables(view: ClusterView, extra: Mapping[str, Any]) -> Manifest:
    """`env` and `envFrom` of pgBackRest, and of this Job, whose variables win by name."""
    general = build_repo_host.variables(view, [])
    own = {variable["name"]: variable for variable in (*general["env"], *extra.get("env", ()))}
    return {"env": [*own.values()], "envFrom": [*general["envFrom"], *extra.get("envFrom", ())]}


def near_repo_host(view: ClusterView) -> Manifest:
    """The user's rules, and the node of the repository host: ReadWriteOnce volumes mount on one node only."""
    rules: Manifest = dict(view.cluster.spec.backups.pgbackrest.jobs.affinity or {})
    near: Manifest = dict(rules.get("podAffinity") or {})
    term = {
        "labelSelector": {"matchLabels": labels.repo_host(view.name)},
        "topologyKey": "kubernetes.io/hostname",
    }
    key = "requiredDuringSchedulingIgnoredDuringExecution"
    return {**rules, "podAffinity": {**near, key: [*near.get(key, []), term]}}
