"""The Jobs that work on the repositories, as manifests. Pure.

A Job mounts the repositories' volumes beside the repository host, on its node, and has its configuration and
its certificate: nothing has to be run in another pod, so that neither the operator nor the API server need to
be there while it works.
"""

from collections.abc import Mapping
from typing import Any

from pgoperator import labels, naming
from pgoperator.kube.manifest import Manifest, name_of, uid_of
from reconcilers.pgcluster import pods, repository
from reconcilers.pgcluster.view import View


def job(
    view: View,
    name: str,
    own: Mapping[str, str],
    annotations: Mapping[str, str],
    command: list[str],
    *,
    seconds: int,
    extra: Mapping[str, Any] | None = None,
) -> Manifest:
    """A Job of pgBackRest; `extra` are fields of its container."""
    settings = view.cluster.spec.backups.pgbackrest
    metadata = view.metadata(name, own, settings.metadata, component="", annotations=annotations)
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


def _pod(view: View, command: list[str], extra: Mapping[str, Any]) -> Manifest:
    settings = view.cluster.spec.backups.pgbackrest
    mounts, volumes = repository.storage(view)
    container = pods.container(
        view,
        naming.PGBACKREST_CONTAINER,
        pods.image(view, settings.image, "pgbackrest"),
        command=command,
        resources=settings.jobs.resources,
        volumeMounts=[*mounts, repository.CONFIG_MOUNT, pods.SCRIPTS_MOUNT, pods.TMP_MOUNT],
        **{**extra, **_variables(view, extra)},
    )
    # The repository host writes to the volumes as well: where only it was given an identity, that is ours.
    security = settings.jobs.security_context or settings.repo_host.security_context
    component = settings.jobs.model_copy(
        update={
            "security_context": security,
            "tolerations": (*settings.jobs.tolerations, *settings.repo_host.tolerations),
            "affinity": _affinity(view) if mounts and view.observed.repo_host_pod else settings.jobs.affinity,
        }
    )
    spec = pods.pod_spec(
        view,
        component,
        containers=[container],
        volumes=[*volumes, repository.client_volume(view), pods.scripts_volume(view.name), pods.TMP_VOLUME],
        account=naming.pgbackrest(view.name),
        selector={},
        fs_group=pods.POSTGRES_GROUP,
    )
    del spec["topologySpreadConstraints"]  # it has no choice of a node
    restart = settings.jobs.restart_policy or "Never"
    return spec | {"restartPolicy": restart, "shareProcessNamespace": False}


def _variables(view: View, extra: Mapping[str, Any]) -> Manifest:
    """Those of pgBackRest everywhere and over them, by name, those of this Job."""
    general = repository.variables(view, [])
    own = {one["name"]: one for one in (*general["env"], *extra.get("env", ()))}
    return {"env": [*own.values()], "envFrom": [*general["envFrom"], *extra.get("envFrom", ())]}


def _affinity(view: View) -> Manifest:
    """The user's rules, and ours: a volume can be mounted twice on one node only (ReadWriteOnce)."""
    rules: Manifest = dict(view.cluster.spec.backups.pgbackrest.jobs.affinity or {})
    near: Manifest = dict(rules.get("podAffinity") or {})
    term = {
        "labelSelector": {"matchLabels": labels.repo_host(view.name)},
        "topologyKey": "kubernetes.io/hostname",
    }
    key = "requiredDuringSchedulingIgnoredDuringExecution"
    return {**rules, "podAffinity": {**near, key: [*near.get(key, []), term]}}


def owned(manifest: Manifest, owner: Manifest) -> Manifest:
    """The manifest with its owner, with which it goes."""
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return manifest | {"metadata": manifest["metadata"] | {"ownerReferences": [reference]}}
