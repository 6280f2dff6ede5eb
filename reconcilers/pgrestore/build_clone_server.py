"""The Job that serves a repository on a volume to the restore of a new cluster in another namespace. Pure.

The repository host cannot: its server reads and writes any file of its pod for a client, also the key that
opens the databases. This pod has the volume of one repository, read-only, and a certificate of an authority
that exists for this restore only and that nothing else trusts.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from pgoperator import labels, naming, pki
from pgoperator.api.cluster import PGCluster
from pgoperator.api.pgrestore import PGRestore
from pgoperator.api.repositories import Repository
from pgoperator.kube.manifest import Manifest, owner_reference
from pgoperator.postgres import ini, pgbackrest
from reconcilers.pgcluster.backups import build_jobs, build_repo_host
from reconcilers.pgcluster.pods import build_pod
from reconcilers.pgcluster.state.view import ClusterView

DEADLINE_SECONDS = 8 * 86400
"""More than the deadline of a restore's Job; for a server whose restore nobody ends."""
_RETRIES = 20
"""Pods that may be evicted before the Job gives up."""
_FINISHED_SECONDS = 60
_CLIENT_FILES = ("tls-ca.crt", "client-tls.crt", "client-tls.key")


def name(cluster: str, restore: PGRestore) -> str:
    """Name of the Job, its Secret and its host; the same restore always has the same name."""
    return naming.backup_job(cluster, "clone", restore.metadata.uid)


def host(cluster: PGCluster, restore: PGRestore) -> str:
    """DNS name of the server, also from other namespaces."""
    return f"{name(cluster.name, restore)}.{naming.pods(cluster.name)}.{cluster.namespace}.svc"


def owner(restore: PGRestore) -> str:
    """Which restore a server is for, as the value of the annotation."""
    return f"{restore.namespace}/{restore.name}/{restore.metadata.uid}"


def secret(view: ClusterView, restore: PGRestore, repo: Repository, job: Manifest, now: datetime) -> Manifest:
    """Configuration and certificates of the server, and the certificate of its client; goes with the Job."""
    client_name, life = f"clone@{restore.metadata.uid}", timedelta(seconds=DEADLINE_SECONDS + 86400)
    dns = host(view.cluster, restore)
    ca = pki.new_ca("pgoperator clone", now, life=life)
    server = pki.issue(ca, common_name=dns, dns_names=[dns], now=now, life=life, client=False)
    client = pki.issue(ca, common_name=client_name, now=now, life=life, server=False)
    settings = {"log-level-file": "off", f"{repo.name}-path": f"/pgbackrest/{repo.name}"}
    text = {
        "server.conf": pgbackrest.server_conf(client_cn=client_name, stanza=naming.STANZA),
        "repo.conf": ini.render({"global": settings}),
        "tls-ca.crt": ca.cert.decode(),
        "server-tls.crt": server.cert.decode(),
        "server-tls.key": server.key.decode(),
        "client-tls.crt": client.cert.decode(),
        "client-tls.key": client.key.decode(),
    }
    # A reference that blocks the deletion of a Job would need another right on OpenShift.
    reference = owner_reference(job) | {"blockOwnerDeletion": False}
    metadata = view.metadata(name(view.name, restore), {labels.CLONE_SERVER: ""})
    metadata["ownerReferences"] = [reference]
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": text}


def client_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of the Secret that the restore may have."""
    return {file: files[file] for file in _CLIENT_FILES}


def job(view: ClusterView, restore: PGRestore, repo: Repository) -> Manifest:
    """The Job, on the node of the repository host, which has the volume mounted."""
    settings, own = view.cluster.spec.backups.pgbackrest, {labels.CLONE_SERVER: ""}
    metadata = view.metadata(
        name(view.name, restore), own, component="", annotations={labels.CLONE_FOR: owner(restore)}
    )
    mount = {"name": repo.name, "mountPath": f"/pgbackrest/{repo.name}", "readOnly": True}
    container = build_pod.container(
        view,
        naming.PGBACKREST_CONTAINER,
        build_pod.image(view, settings.image, "pgbackrest"),
        command=build_pod.script("pgbackrest-server.sh"),
        ports=[{"name": naming.PGBACKREST_PORT_NAME, "containerPort": pgbackrest.PORT, "protocol": "TCP"}],
        resources=settings.jobs.resources,
        readinessProbe={"tcpSocket": {"port": naming.PGBACKREST_PORT_NAME}, "periodSeconds": 2},
        volumeMounts=[
            mount,
            build_repo_host.CONFIG_MOUNT,
            build_repo_host.SERVER_MOUNT,
            build_pod.SCRIPTS_MOUNT,
            build_pod.TMP_MOUNT,
        ],
    )
    security = settings.jobs.security_context or settings.repo_host.security_context
    component = settings.jobs.model_copy(
        update={
            "security_context": security,
            "tolerations": (*settings.jobs.tolerations, *settings.repo_host.tolerations),
            "affinity": build_jobs.near_repo_host(view),
        }
    )
    pod = build_pod.pod_spec(
        view,
        component,
        containers=[container],
        volumes=[*_volumes(view, restore, repo), build_pod.scripts_volume(view.name), build_pod.TMP_VOLUME],
        account=None,
        selector=None,  # the volume determines the node
        fs_group=build_pod.POSTGRES_GROUP,
    )
    address = {"hostname": name(view.name, restore), "subdomain": naming.pods(view.name)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "backoffLimit": _RETRIES,
            "ttlSecondsAfterFinished": _FINISHED_SECONDS,
            "template": {
                "metadata": {"labels": metadata["labels"]},
                "spec": pod | address | {"restartPolicy": "OnFailure", "shareProcessNamespace": False},
            },
        },
    }


def _volumes(view: ClusterView, restore: PGRestore, repo: Repository) -> list[Manifest]:
    own = name(view.name, restore)
    config = {
        "server.conf": "~postgres-operator_server.conf",
        "repo.conf": "repo.conf",
        "tls-ca.crt": "~postgres-operator/tls-ca.crt",
    }
    server = {file: file for file in ("server-tls.crt", "server-tls.key")}
    claim = {"claimName": naming.repo_volume(view.name, repo.name)}
    return [
        {"name": repo.name, "persistentVolumeClaim": claim},
        build_pod.projected(build_repo_host.CONFIG_MOUNT["name"], [build_pod.from_secret(own, config)]),
        build_pod.projected(build_repo_host.SERVER_MOUNT["name"], [build_pod.from_secret(own, server)]),
    ]
