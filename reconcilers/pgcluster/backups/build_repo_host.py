"""The pgBackRest repository host, its volumes and configuration, and pgBackRest's server in instances. Pure.

The repository host fetches files from the instances over TLS, and the instances push WAL to it over TLS. Both
sides authenticate by certificate.
"""

from collections.abc import Mapping

from pgoperator import labels, naming
from pgoperator.api.repositories import Repository
from pgoperator.kube.manifest import Manifest
from pgoperator.postgres import pgbackrest
from reconcilers.pgcluster.credentials.build_certificates import pgbackrest_client
from reconcilers.pgcluster.lifecycle import decide_pause
from reconcilers.pgcluster.pods import build_customization, build_pod
from reconcilers.pgcluster.state import repositories
from reconcilers.pgcluster.state.view import ClusterView, Planned, View, with_primary

CONFIG_MOUNT: Manifest = {
    "name": "pgbackrest-config",
    "mountPath": naming.PGBACKREST_CONF_PATH,
    "readOnly": True,
}
SERVER_MOUNT: Manifest = {
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
    """ConfigMap, volumes and StatefulSet; nothing while backups are disabled."""
    if not view.backups_enabled:
        return []
    volumes = [_volume(view, repo) for repo in _volumes(view)]
    claims = build_customization.claims(view, build_customization.of_repo_host(view.cluster.spec))
    manifests = [_config_map(view), *volumes, *claims]
    if view.restoring is not None and view.restoring.bootstrap and _is_copied(view):
        return manifests  # the copy comes first: it determines where both volumes are
    return [*manifests, _stateful_set(view)]


def _is_copied(view: ClusterView) -> bool:
    """Whether a repository is copied from the volume of a former cluster."""
    data = view.cluster.spec.data_source
    return bool(data and data.volumes and data.volumes.pgbackrest_volume)


def _volumes(view: ClusterView) -> list[Repository]:
    return [repo for repo in view.repos if repo.volume is not None]


def _config_map(view: View) -> Manifest:
    backups, repos = view.cluster.spec.backups, repositories.repos(view)
    data_path = naming.data_directory(view.cluster.spec.postgres_version)
    hosts = [
        (naming.pod_host(p.name, view.name), view.cluster.spec.port, data_path)
        for p in sorted(with_primary(view.planned, view.observed), key=lambda planned: planned.name)
    ]
    options = backups.pgbackrest.global_options
    files = {
        "pgbackrest_instance.conf": pgbackrest.instance_conf(
            repos=repos,
            repo_host=naming.pod_host(naming.repo_host(view.name), view.name),
            pg_path=data_path,
            pg_port=view.cluster.spec.port,
            overrides=options,
            confirmed=repositories.known(view) is not None,
        ),
        "pgbackrest_repo.conf": pgbackrest.repo_conf(repos=repos, hosts=hosts, overrides=options),
        "pgbackrest-server.conf": pgbackrest.server_conf(
            client_cn=pgbackrest_client(view.cluster.metadata.uid)
        ),
        "config-hash": repositories.digest(view),
    }
    own = {labels.PGBACKREST: "", labels.PGBACKREST_CONFIG: ""}
    metadata = view.metadata(
        naming.pgbackrest_config(view.name), own, backups.pgbackrest.metadata, component="", versioned=True
    )
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": files}


def _volume(view: ClusterView, repo: Repository) -> Manifest:
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
        versioned=True,
    )
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": build_pod.claim(repo.volume.volume_claim_spec),
    }


def variables(view: ClusterView, ours: list[Manifest]) -> Manifest:
    """`env` and `envFrom` of a container that runs pgBackRest."""
    return build_customization.variables(build_customization.of_pgbackrest(view.cluster.spec), ours)


def server(view: ClusterView, mounts: list[Manifest], *, ready_when_listening: bool = False) -> Manifest:
    """The container that runs pgBackRest's TLS server, in instances and at the repository host."""
    settings = view.cluster.spec.backups.pgbackrest
    probe = {"tcpSocket": {"port": naming.PGBACKREST_PORT_NAME}, "periodSeconds": 2, "failureThreshold": 3}
    return build_pod.container(
        view,
        naming.PGBACKREST_CONTAINER,
        build_pod.image(view, settings.image, "pgbackrest"),
        command=build_pod.script("pgbackrest-server.sh"),
        **variables(view, [{"name": "PGPORT", "value": str(view.cluster.spec.port)}]),
        ports=[{"name": naming.PGBACKREST_PORT_NAME, "containerPort": pgbackrest.PORT, "protocol": "TCP"}],
        resources=settings.containers.pgbackrest.resources
        if not ready_when_listening
        else settings.repo_host.resources,
        # pgBackRest's own client checks whether the server answers over TLS.
        livenessProbe={
            "exec": {"command": ["pgbackrest", "server-ping"]},
            "periodSeconds": 30,
            "timeoutSeconds": 10,
            "failureThreshold": 3,
        },
        readinessProbe=probe if ready_when_listening else None,
        volumeMounts=[*mounts, CONFIG_MOUNT, SERVER_MOUNT, build_pod.SCRIPTS_MOUNT, build_pod.TMP_MOUNT],
    )


def _config_volume(view: ClusterView, own_file: str) -> Manifest:
    """The user's files first, then the operator's files, which win by their names."""
    name = naming.pgbackrest_config(view.name)
    items = {
        own_file: own_file,
        "config-hash": "config-hash",
        "pgbackrest-server.conf": "~postgres-operator_server.conf",
    }
    sources = [
        *view.cluster.spec.backups.pgbackrest.configuration,
        build_pod.from_config_map(name, items),
        build_pod.from_secret(naming.pgbackrest(view.name), CLIENT_FILES),
    ]
    return build_pod.projected("pgbackrest-config", sources)


def client_volume(view: ClusterView) -> Manifest:
    """Configuration and client certificate of pods that run pgBackRest on the repositories."""
    return _config_volume(view, "pgbackrest_repo.conf")


def storage(view: ClusterView) -> tuple[list[Manifest], list[Manifest]]:
    """Mounts and volumes of the repositories that are on volumes; both may be empty."""
    names = [repo.name for repo in _volumes(view)]
    mounts: list[Manifest] = [{"name": name, "mountPath": f"/pgbackrest/{name}"} for name in names]
    volumes: list[Manifest] = [
        {"name": name, "persistentVolumeClaim": {"claimName": naming.repo_volume(view.name, name)}}
        for name in names
    ]
    return mounts, volumes


def _server_volume(secret: str, prefix: str) -> Manifest:
    files = {f"{prefix}.crt": "server-tls.crt", f"{prefix}.key": "server-tls.key"}
    return build_pod.projected("pgbackrest-server", [build_pod.from_secret(secret, files)])


def instance_config(view: ClusterView) -> Manifest:
    """Configuration and client certificate of pods that run pgBackRest as an instance does."""
    return _config_volume(view, "pgbackrest_instance.conf")


def instance_volumes(view: ClusterView, planned: Planned) -> list[Manifest]:
    """Volumes with pgBackRest's configuration and certificates for an instance."""
    return [
        instance_config(view),
        _server_volume(naming.instance_certificates(planned.name), "pgbackrest-server"),
    ]


def _stateful_set(view: View) -> Manifest:
    settings, name = view.cluster.spec.backups.pgbackrest, naming.repo_host(view.name)
    host = build_customization.of_repo_host(view.cluster.spec)
    own = {labels.PGBACKREST: "", labels.PGBACKREST_DEDICATED: "", labels.DATA: labels.DATA_PGBACKREST}
    own |= {labels.VERSION: view.cr_version}
    marks = {labels.DEFAULT_CONTAINER: naming.PGBACKREST_CONTAINER}
    metadata = view.metadata(name, own, settings.metadata, component="", annotations=marks)
    marks = marks | build_customization.annotations(view, host)
    template = view.metadata(name, own, settings.metadata, component="", annotations=marks)
    mounts, volumes = storage(view)
    volumes += [
        client_volume(view),
        _server_volume(naming.pgbackrest(view.name), "pgbackrest-repo-host"),
        build_pod.scripts_volume(view.name),
        build_pod.TMP_VOLUME,
    ]
    spec = build_pod.pod_spec(
        view,
        settings.repo_host,
        containers=[server(view, mounts, ready_when_listening=True)],
        volumes=volumes,
        account=naming.pgbackrest(view.name),
        selector=build_pod.database_selector(view.name),
        fs_group=build_pod.POSTGRES_GROUP,
    )
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata,
        "spec": {
            "replicas": decide_pause.host_replicas(view),
            "serviceName": naming.pods(view.name),
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate"},
            **_immutable(view),
            "template": {
                "metadata": {key: template[key] for key in ("labels", "annotations")},
                "spec": build_customization.extend(view, spec, host),
            },
        },
    }


def _immutable(view: View) -> Manifest:
    """Fields that Kubernetes lets nobody change, as they are: Percona's operator chooses other values."""
    spec = (view.observed.repo_host or {}).get("spec", {})
    ours = {"selector": {"matchLabels": labels.repo_host(view.name)}, "revisionHistoryLimit": 0}
    return ours | {field: spec[field] for field in ours if field in spec}
