"""The pgBackRest repository host, its volumes and configuration, and pgBackRest's server in the instances.

Backups run at the repository host; it fetches files from the instances over TLS, and the instances push WAL
to it the same way. Both sides know one another by certificate.
"""

import hashlib
from collections.abc import Mapping

from pgoperator import labels, naming
from pgoperator.api.repositories import Repository
from pgoperator.errors import InvalidSpec
from pgoperator.kube.manifest import Manifest
from pgoperator.postgres import pgbackrest
from reconcilers.pgcluster import extras, pausing, pods
from reconcilers.pgcluster.certificates import pgbackrest_client
from reconcilers.pgcluster.view import Planned, View

CONFIG_MOUNT: Manifest = {
    "name": "pgbackrest-config",
    "mountPath": naming.PGBACKREST_CONF_PATH,
    "readOnly": True,
}
_SERVER_MOUNT: Manifest = {
    "name": "pgbackrest-server",
    "mountPath": naming.PGBACKREST_SERVER_PATH,
    "readOnly": True,
}
_OURS = "~postgres-operator"
CLIENT_FILES: Mapping[str, str] = {
    "pgbackrest.ca-roots": f"{_OURS}/tls-ca.crt",
    "pgbackrest-client.crt": f"{_OURS}/client-tls.crt",
    "pgbackrest-client.key": f"{_OURS}/client-tls.key",
}


def desired(view: View) -> list[Manifest]:
    """ConfigMap, volumes and StatefulSet; nothing while backups are off."""
    if not view.cluster.spec.backups.enabled:
        return []
    volumes = [_volume(view, repo) for repo in _volumes(view)]
    claims = [claim for part in extras.of_repo_host(view.cluster.spec) for claim in extras.claims(view, part)]
    found = [_config_map(view), *volumes, *claims]
    if view.restoring is not None and view.restoring.bootstrap and _is_copied(view):
        return found  # the copy comes first: it decides where both volumes are
    return [*found, _stateful_set(view)]


def _is_copied(view: View) -> bool:
    """Whether a repository begins with the volume of a former cluster."""
    data = view.cluster.spec.data_source
    return bool(data and data.volumes and data.volumes.pgbackrest_volume)


def _volumes(view: View) -> list[Repository]:
    return [repo for repo in view.cluster.spec.backups.repos if repo.volume is not None]


def repos(view: View) -> tuple[pgbackrest.Repo, ...]:
    """The repositories as pgBackRest's options know them."""
    return tuple(repo_of(repo) for repo in view.cluster.spec.backups.repos)


def digest(view: View) -> str:
    """What tells one set of repositories from another: a new one needs its stanza."""
    text = repr([(repo.name, repo.type, sorted(repo.options.items())) for repo in repos(view)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def repo_of(repo: Repository) -> pgbackrest.Repo:
    """A repository of the CR as pgBackRest's options know it."""
    if repo.volume is not None:
        return pgbackrest.Repo(repo.name, "volume")
    if repo.s3 is not None:
        options = {"bucket": repo.s3.bucket, "endpoint": repo.s3.endpoint, "region": repo.s3.region}
        return pgbackrest.Repo(repo.name, "s3", options)
    if repo.gcs is not None:
        return pgbackrest.Repo(repo.name, "gcs", {"bucket": repo.gcs.bucket})
    if repo.azure is not None:
        return pgbackrest.Repo(repo.name, "azure", {"container": repo.azure.container})
    raise InvalidSpec(
        f"spec.backups.pgbackrest.repos: {repo.name} names no storage: set volume, s3, gcs or azure",
        reason="InvalidBackupRepo",
    )


def _config_map(view: View) -> Manifest:
    backups, found = view.cluster.spec.backups, repos(view)
    data_path = naming.data_directory(view.cluster.spec.postgres_version)
    hosts = [
        (naming.pod_host(p.name, view.name), view.cluster.spec.port, data_path)
        for p in sorted(view.planned, key=lambda planned: planned.name)
    ]
    options = backups.pgbackrest.global_options
    files = {
        "pgbackrest_instance.conf": pgbackrest.instance_conf(
            repos=found,
            repo_host=naming.pod_host(naming.repo_host(view.name), view.name),
            pg_path=data_path,
            pg_port=view.cluster.spec.port,
            overrides=options,
        ),
        "pgbackrest_repo.conf": pgbackrest.repo_conf(repos=found, hosts=hosts, overrides=options),
        "pgbackrest-server.conf": pgbackrest.server_conf(
            client_cn=pgbackrest_client(view.cluster.metadata.uid)
        ),
        "config-hash": digest(view),
    }
    own = {labels.PGBACKREST: "", labels.PGBACKREST_CONFIG: ""}
    metadata = view.metadata(
        naming.pgbackrest_config(view.name), own, backups.pgbackrest.metadata, component=""
    )
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": files}


def _volume(view: View, repo: Repository) -> Manifest:
    assert repo.volume is not None
    own = {
        labels.PGBACKREST: "",
        labels.PGBACKREST_REPO: repo.name,
        labels.PGBACKREST_VOLUME: "",
        labels.DATA: labels.DATA_PGBACKREST,
    }
    metadata = view.metadata(
        naming.repo_volume(view.name, repo.name),
        own,
        view.cluster.spec.backups.pgbackrest.metadata,
        component="",
    )
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": pods.claim(repo.volume.volume_claim_spec),
    }


def variables(view: View, ours: list[Manifest]) -> Manifest:
    """`env` and `envFrom` of a container that runs pgBackRest."""
    [part] = extras.of_pgbackrest(view.cluster.spec)
    return extras.variables(part, ours)


def server(view: View, mounts: list[Manifest], *, ready_when_listening: bool = False) -> Manifest:
    """The container that runs pgBackRest's TLS server, in instances and at the repository host."""
    settings = view.cluster.spec.backups.pgbackrest
    probe = {"tcpSocket": {"port": naming.PGBACKREST_PORT_NAME}, "periodSeconds": 2, "failureThreshold": 3}
    return pods.container(
        view,
        naming.PGBACKREST_CONTAINER,
        pods.image(view, settings.image, "pgbackrest"),
        command=pods.script("pgbackrest-server.sh"),
        **variables(view, [{"name": "PGPORT", "value": str(view.cluster.spec.port)}]),
        ports=[{"name": naming.PGBACKREST_PORT_NAME, "containerPort": pgbackrest.PORT, "protocol": "TCP"}],
        resources=settings.containers.pgbackrest.resources
        if not ready_when_listening
        else settings.repo_host.resources,
        # pgBackRest's own client asks whether the server still answers over TLS.
        livenessProbe={
            "exec": {"command": ["pgbackrest", "server-ping"]},
            "periodSeconds": 30,
            "timeoutSeconds": 10,
            "failureThreshold": 3,
        },
        readinessProbe=probe if ready_when_listening else None,
        volumeMounts=[*mounts, CONFIG_MOUNT, _SERVER_MOUNT, pods.SCRIPTS_MOUNT, pods.TMP_MOUNT],
    )


def _config_volume(view: View, own_file: str) -> Manifest:
    """The user's files first, then ours, which win by their names."""
    name = naming.pgbackrest_config(view.name)
    items = {
        own_file: own_file,
        "config-hash": "config-hash",
        "pgbackrest-server.conf": "~postgres-operator_server.conf",
    }
    sources = [
        *view.cluster.spec.backups.pgbackrest.configuration,
        pods.from_config_map(name, items),
        pods.from_secret(naming.pgbackrest(view.name), CLIENT_FILES),
    ]
    return pods.projected("pgbackrest-config", sources)


def client_volume(view: View) -> Manifest:
    """Configuration and client certificate of whoever works on the repositories."""
    return _config_volume(view, "pgbackrest_repo.conf")


def storage(view: View) -> tuple[list[Manifest], list[Manifest]]:
    """Mounts and volumes of the repositories on volumes; both empty when there are none."""
    names = [repo.name for repo in _volumes(view)]
    mounts: list[Manifest] = [{"name": name, "mountPath": f"/pgbackrest/{name}"} for name in names]
    volumes: list[Manifest] = [
        {"name": name, "persistentVolumeClaim": {"claimName": naming.repo_volume(view.name, name)}}
        for name in names
    ]
    return mounts, volumes


def _server_volume(secret: str, prefix: str) -> Manifest:
    files = {f"{prefix}.crt": "server-tls.crt", f"{prefix}.key": "server-tls.key"}
    return pods.projected("pgbackrest-server", [pods.from_secret(secret, files)])


def instance_volumes(view: View, planned: Planned) -> list[Manifest]:
    """Configuration and certificates of pgBackRest in an instance."""
    return [
        _config_volume(view, "pgbackrest_instance.conf"),
        _server_volume(naming.instance_certificates(planned.name), "pgbackrest-server"),
    ]


def _stateful_set(view: View) -> Manifest:
    settings, name = view.cluster.spec.backups.pgbackrest, naming.repo_host(view.name)
    host = extras.of_repo_host(view.cluster.spec)
    own = {labels.PGBACKREST: "", labels.PGBACKREST_DEDICATED: "", labels.DATA: labels.DATA_PGBACKREST}
    own |= {labels.VERSION: view.cr_version}
    metadata = view.metadata(name, own, settings.metadata, component="")
    template = view.metadata(
        name,
        own,
        settings.metadata,
        component="",
        annotations={labels.DEFAULT_CONTAINER: naming.PGBACKREST_CONTAINER} | extras.annotations(view, *host),
    )
    mounts, volumes = storage(view)
    volumes += [
        client_volume(view),
        _server_volume(naming.pgbackrest(view.name), "pgbackrest-repo-host"),
        pods.scripts_volume(view.name),
        pods.TMP_VOLUME,
    ]
    spec = pods.pod_spec(
        view,
        settings.repo_host,
        containers=[server(view, mounts, ready_when_listening=True)],
        volumes=volumes,
        account=naming.pgbackrest(view.name),
        selector=pods.database_selector(view.name),
        fs_group=pods.POSTGRES_GROUP,
    )
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata,
        "spec": {
            "replicas": pausing.host_replicas(view),
            "serviceName": naming.pods(view.name),
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels.repo_host(view.name)},
            "updateStrategy": {"type": "RollingUpdate"},
            "revisionHistoryLimit": 0,
            "template": {
                "metadata": {key: template[key] for key in ("labels", "annotations")},
                "spec": extras.extend(spec, *host),
            },
        },
    }
