"""The Job of a restore drill: a pod with a scratch volume that goes with it. Pure.

The volume has the size and storage class of the first instance set's volumes. The pod is placed like the
Jobs of backups: rules that keep instances apart would leave no node for it. No Service selects it, and
PostgreSQL in it listens on no address.
"""

from pgoperator import labels, naming
from pgoperator.api.instances import InstanceSet
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.backups import build_repo_host
from reconcilers.pgcluster.drill.decide_drill import Drill
from reconcilers.pgcluster.pods import build_pod
from reconcilers.pgcluster.state import provenance
from reconcilers.pgcluster.state.view import View

CONTAINER = "restore-drill"
DEADLINE_SECONDS = 86400
RETRIES = 2
"""For pods that were killed; the script's status 1 ends the Job at once."""
SCRATCH = "scratch"


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
    final = {"containerName": CONTAINER, "operator": "In", "values": [1]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "backoffLimit": RETRIES,
            "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": final}]},
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
    pgbackrest = spec.backups.pgbackrest
    config = build_repo_host.instance_config(view)
    version = spec.postgres_version
    values = {
        "PGDATA": naming.data_directory(version),
        "PGVERSION": str(version),
        "REPO": drill.repo.removeprefix("repo"),
        "STANZA": naming.STANZA,
        "SYSTEM_IDENTIFIER": provenance.system_identifier(view.cluster, view.observed),
    }
    container = build_pod.container(
        view,
        CONTAINER,
        build_pod.image(view, spec.image, "postgres", version),
        # The volumes of tablespaces are not here.
        command=build_pod.script(
            "restore-drill.sh",
            f"--set={drill.backup}",
            "--type=default",
            f"--tablespace-map-all={naming.DATA_PATH}/tablespaces",
        ),
        resources=getattr(pgbackrest.restore, "resources", None) or pgbackrest.jobs.resources,
        volumeMounts=[
            {"name": SCRATCH, "mountPath": naming.DATA_PATH},
            {"name": config["name"], "mountPath": naming.PGBACKREST_CONF_PATH, "readOnly": True},
            {"name": "dshm", "mountPath": "/dev/shm"},  # noqa: S108 - inside the container
            build_pod.SCRIPTS_MOUNT,
            build_pod.TMP_MOUNT,
        ],
        **build_repo_host.variables(view, [{"name": name, "value": value} for name, value in values.items()]),
    )
    claim = _claim(instance_set)
    # It may run where instances run, and writes files as they do.
    placement = pgbackrest.jobs.model_copy(
        update={
            "security_context": pgbackrest.jobs.security_context or instance_set.security_context,
            "tolerations": (*pgbackrest.jobs.tolerations, *instance_set.tolerations),
        }
    )
    result: Manifest = build_pod.pod_spec(
        view,
        placement,
        containers=[container],
        volumes=[
            {"name": SCRATCH, "ephemeral": {"volumeClaimTemplate": {"spec": claim}}},
            config,
            {"name": "dshm", "emptyDir": {"medium": "Memory"}},
            build_pod.scripts_volume(view.name),
            build_pod.TMP_VOLUME,
        ],
        account=None,
        selector=None,
        fs_group=build_pod.POSTGRES_GROUP,
    )
    del result["shareProcessNamespace"]
    # For an IAM role that reads the repository; the pod has no token for Kubernetes.
    identity = {"serviceAccountName": naming.instance_account(view.name)}
    return result | identity | {"restartPolicy": "Never", "terminationGracePeriodSeconds": 5}
