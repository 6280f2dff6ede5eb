"""pgBouncer: Deployment, Service, ConfigMap. Its account in the database is `databases`' business."""

from pgoperator import labels, naming
from pgoperator.api.pooling import PgBouncer
from pgoperator.errors import InvalidSpec
from pgoperator.kube.manifest import Manifest
from pgoperator.postgres import pgbouncer
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster import extras, pausing, pods, services
from reconcilers.pgcluster.extras import Part
from reconcilers.pgcluster.view import View

_OURS = "~postgres-operator"
_CERTIFICATE_SECONDS = 60


def desired(view: View) -> list[Manifest] | Wait:
    """Everything of the pooler; nothing when there is none."""
    pooler = view.cluster.spec.pg_bouncer
    if pooler is None:
        return []
    [part] = extras.of_pooler(view.cluster.spec)
    shared = [*extras.claims(view, part), _config_map(view, pooler), _service(view, pooler)]
    if not view.secrets[naming.pgbouncer(view.name)].get("pgbouncer-frontend.crt"):
        # Why, the problem of the author's Secret says.
        return Wait("pgBouncer has no certificate yet", _CERTIFICATE_SECONDS)
    return [*shared, _deployment(view, pooler, part)]


def _config_map(view: View, pooler: PgBouncer) -> Manifest:
    ini = pgbouncer.ini(
        host=naming.primary(view.name),
        port=view.cluster.spec.port,
        listen_port=pooler.port,
        config_global=pooler.config.global_options,
        databases=pooler.config.databases,
        users=pooler.config.users,
        paused=pooler.paused,
    )
    metadata = view.metadata(
        naming.pgbouncer(view.name),
        {labels.ROLE: labels.ROLE_PGBOUNCER},
        pooler.metadata,
        component="pgbouncer",
    )
    data = {"pgbouncer.ini": ini, "pgbouncer-empty": ""}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _service(view: View, pooler: PgBouncer) -> Manifest:
    name, port_name = naming.pgbouncer(view.name), naming.PGBOUNCER_PORT_NAME
    port = {"name": port_name, "port": pooler.port, "protocol": "TCP", "targetPort": port_name}
    spec = services.exposure(pooler.expose, port, name)
    metadata = view.metadata(
        name,
        {labels.ROLE: labels.ROLE_PGBOUNCER},
        pooler.metadata,
        pooler.expose,
        component="pgbouncer",
    )
    selector = labels.pgbouncer(view.name)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": spec | {"selector": selector},
    }


def _deployment(view: View, pooler: PgBouncer, part: Part) -> Manifest:
    name, own = naming.pgbouncer(view.name), {labels.ROLE: labels.ROLE_PGBOUNCER}
    own = own | {labels.VERSION: view.cr_version}
    template = view.metadata(
        name,
        own,
        pooler.metadata,
        component="pgbouncer",
        annotations={labels.DEFAULT_CONTAINER: naming.PGBOUNCER_CONTAINER} | extras.annotations(view, part),
    )
    selector = {"matchLabels": labels.pgbouncer(view.name)}
    spec = pods.pod_spec(
        view,
        pooler,
        containers=[_container(view, pooler, part)],
        volumes=[
            _config_volume(view, pooler),
            {"name": "pgbouncer-logs", "emptyDir": {}},
            pods.scripts_volume(view.name),
            pods.TMP_VOLUME,
        ],
        account=None,
        selector=selector,
    )
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": view.metadata(name, own, pooler.metadata, component="pgbouncer"),
        "spec": {
            "replicas": pausing.pooler_replicas(view, pooler.replicas),
            "selector": selector,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}},
            "revisionHistoryLimit": 0,
            "template": {
                "metadata": {key: template[key] for key in ("labels", "annotations")},
                "spec": extras.extend(spec, part),
            },
        },
    }


def _container(view: View, pooler: PgBouncer, part: Part) -> Manifest:
    # The probe speaks PostgreSQL's first bytes: only a process whose event loop turns can answer. That the
    # primary answers too is no part of it: while there is none, clients shall queue here and not be refused.
    check = {"exec": {"command": pods.script("pgbouncer-check.sh")}, "timeoutSeconds": 5}
    return pods.container(
        view,
        naming.PGBOUNCER_CONTAINER,
        pods.image(view, pooler.image, "pgbouncer"),
        command=pods.script("pgbouncer.sh", pgbouncer.CONFIG),
        **extras.variables(part, [{"name": "PGBOUNCER_PORT", "value": str(pooler.port)}]),
        ports=[{"name": naming.PGBOUNCER_PORT_NAME, "containerPort": pooler.port, "protocol": "TCP"}],
        resources=pooler.resources,
        livenessProbe={**check, "periodSeconds": 10, "failureThreshold": 3},
        readinessProbe={**check, "periodSeconds": 5, "failureThreshold": 2},
        volumeMounts=[
            {"name": "pgbouncer-config", "mountPath": naming.PGBOUNCER_CONF_PATH, "readOnly": True},
            {"name": "pgbouncer-logs", "mountPath": "/var/logs"},
            pods.SCRIPTS_MOUNT,
            pods.TMP_MOUNT,
        ],
    )


def _config_volume(view: View, pooler: PgBouncer) -> Manifest:
    name = naming.pgbouncer(view.name)
    return pods.projected(
        "pgbouncer-config",
        [
            *_files(name, pooler),
            pods.from_secret(
                name,
                {
                    "pgbouncer-users.txt": f"{_OURS}/users.txt",
                    "pgbouncer-frontend.ca-roots": f"{_OURS}/frontend-ca.crt",
                    "pgbouncer-frontend.crt": f"{_OURS}/frontend-tls.crt",
                    "pgbouncer-frontend.key": f"{_OURS}/frontend-tls.key",
                },
            ),
            pods.from_secret(naming.cluster_certificate(view.name), {"ca.crt": f"{_OURS}/backend-ca.crt"}),
        ],
        # The image's user is in no group that could be given to the files; nobody else is in the container.
        mode=0o444,
    )


def _files(name: str, pooler: PgBouncer) -> list[Manifest]:
    """Our configuration, and the user's files over the empty one that it includes."""
    ours, empty = {"pgbouncer.ini": f"{_OURS}.ini"}, {"pgbouncer-empty": "pgbouncer.ini"}
    files = pooler.config.files
    if not files:
        return [pods.from_config_map(name, ours | empty)]
    paths = [
        item["path"]
        for source in files
        for projection in source.values()
        if isinstance(projection, dict)
        for item in projection.get("items") or ()
    ]
    if taken := next((path for path in paths if path.startswith(_OURS)), None):
        raise InvalidSpec(
            f"spec.proxy.pgBouncer.config.files: the path {taken!r} is in use already", reason=extras.REASON
        )
    # Kubernetes refuses a path that is named twice; where whole objects meet, the later one wins.
    own = "pgbouncer.ini" in paths
    return [
        *([] if own else [pods.from_config_map(name, empty)]),
        *files,
        pods.from_config_map(name, ours),
    ]
