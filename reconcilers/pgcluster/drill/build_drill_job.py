"""The Job of a restore drill: a pod with a scratch volume that goes with it. Pure.

An init container restores the backup. What then runs PostgreSQL, and the user's SQL in it, is another
container, without the configuration and the variables that lead to the repository.

The volume has the size and storage class of the first instance set's volumes. The pod is placed like the
Jobs of backups: rules that keep instances apart would leave no node for it. No Service selects it, and
PostgreSQL in it listens on no address.
"""

from collections.abc import Mapping

from pgoperator import labels, naming
from pgoperator.api.instances import InstanceSet
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.backups import build_repo_host
from reconcilers.pgcluster.drill.decide_drill import Drill
from reconcilers.pgcluster.pods import build_pod
from reconcilers.pgcluster.state import provenance
from reconcilers.pgcluster.state.view import View

CONTAINER = "restore-drill"
RESTORE = "restore"
"""The init container."""
SQL_PATH = "/etc/pgoperator/drill-sql"
DEADLINE_SECONDS = 86400
RETRIES = 2
"""For pods that were killed; the script's status 1 ends the Job at once."""
SCRATCH, CHECK_TMP, SQL = "scratch", "check-tmp", "drill-sql"
"""Volumes."""


def manifest(view: View, drill: Drill) -> Manifest:
    """The Job."""
    pgbackrest = view.cluster.spec.backups.pgbackrest
    own = {labels.RESTORE_DRILL: "", labels.PGBACKREST: ""}
    metadata = view.metadata(
        naming.restore_drill(view.name),
        own,
        pgbackrest.metadata,
        component="",
        annotations={labels.RESTORE_DRILL: drill.annotation},
        versioned=True,
    )
    final = [
        {"action": "FailJob", "onExitCodes": {"containerName": name, "operator": "In", "values": [1]}}
        for name in (RESTORE, CONTAINER)
    ]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "backoffLimit": RETRIES,
            "podFailurePolicy": {"rules": final},
            "template": {"metadata": {"labels": metadata["labels"]}, "spec": _pod(view, drill)},
        },
    }


def _claim(instance_set: InstanceSet) -> Manifest:
    """The spec of the scratch volume: that of the data volume, with room for all tablespaces."""
    claim = build_pod.claim(instance_set.data_volume_claim_spec)
    tablespaces = sum(build_pod.size(one.data_volume_claim_spec) for one in instance_set.tablespace_volumes)
    if not tablespaces:
        return claim
    requests = claim["resources"]["requests"] | {"storage": str(build_pod.size(claim) + tablespaces)}
    return claim | {"resources": claim["resources"] | {"requests": requests}}


def _pod(view: View, drill: Drill) -> Manifest:
    spec, instance_set = view.cluster.spec, view.cluster.spec.instance_sets()[0]
    jobs = spec.backups.pgbackrest.jobs
    # It may run where instances run, and writes files as they do.
    placement = jobs.model_copy(
        update={
            "security_context": jobs.security_context or instance_set.security_context,
            "tolerations": (*jobs.tolerations, *instance_set.tolerations),
        }
    )
    result: Manifest = build_pod.pod_spec(
        view,
        placement,
        containers=[_check(view, drill)],
        volumes=[
            {"name": SCRATCH, "ephemeral": {"volumeClaimTemplate": {"spec": _claim(instance_set)}}},
            build_repo_host.instance_config(view),
            {"name": "dshm", "emptyDir": {"medium": "Memory"}},
            build_pod.scripts_volume(view.name),
            build_pod.TMP_VOLUME,
            {"name": CHECK_TMP, "emptyDir": {}},
            *([{"name": SQL, "configMap": {"name": drill.sql}}] if drill.sql else []),
        ],
        account=None,
        selector=None,
        fs_group=build_pod.POSTGRES_GROUP,
    )
    del result["shareProcessNamespace"]
    result["initContainers"] = [_restore(view, drill)]
    # For an IAM role that reads the repository; the pod has no token for Kubernetes.
    identity = {"serviceAccountName": naming.instance_account(view.name)}
    return result | identity | {"restartPolicy": "Never", "terminationGracePeriodSeconds": 5}


def _restore(view: View, drill: Drill) -> Manifest:
    """The container that reads the repository."""
    values = {
        "REPO": drill.repo.removeprefix("repo"),
        "STANZA": naming.STANZA,
        "SYSTEM_IDENTIFIER": provenance.system_identifier(view.cluster, view.observed),
    }
    config = build_repo_host.instance_config(view)["name"]
    # The volumes of tablespaces are not here.
    tablespaces = f"--tablespace-map-all={naming.DATA_PATH}/tablespaces"
    command = build_pod.script(
        "restore-drill.sh", f"--set={drill.backup}", f"--type={drill.type}", tablespaces
    )
    return _container(
        view,
        RESTORE,
        command,
        [
            {"name": config, "mountPath": naming.PGBACKREST_CONF_PATH, "readOnly": True},
            build_pod.TMP_MOUNT,
        ],
        build_repo_host.variables(view, _variables(view, values)),
    )


def _check(view: View, drill: Drill) -> Manifest:
    """The container that runs PostgreSQL; it cannot reach the repository."""
    mounts = [build_pod.TMP_MOUNT | {"name": CHECK_TMP}]
    if drill.sql:
        mounts.append({"name": SQL, "mountPath": SQL_PATH, "readOnly": True})
    values = {"DRILL_SQL": SQL_PATH} if drill.sql else {}
    return _container(
        view, CONTAINER, build_pod.script("restore-check.sh"), mounts, {"env": _variables(view, values)}
    )


def _variables(view: View, more: Mapping[str, str]) -> list[Manifest]:
    version = view.cluster.spec.postgres_version
    values = {"PGDATA": naming.data_directory(version), "PGVERSION": str(version), **more}
    return [{"name": name, "value": value} for name, value in values.items()]


def _container(
    view: View, name: str, command: list[str], mounts: list[Manifest], variables: Manifest
) -> Manifest:
    spec = view.cluster.spec
    pgbackrest = spec.backups.pgbackrest
    return build_pod.container(
        view,
        name,
        build_pod.image(view, spec.image, "postgres", spec.postgres_version),
        command=command,
        resources=getattr(pgbackrest.restore, "resources", None) or pgbackrest.jobs.resources,
        volumeMounts=[
            {"name": SCRATCH, "mountPath": naming.DATA_PATH},
            {"name": "dshm", "mountPath": "/dev/shm"},  # noqa: S108 - inside the container
            build_pod.SCRIPTS_MOUNT,
            *mounts,
        ],
        **variables,
    )
