"""pgBouncer's Deployment, Service and ConfigMap. Pure; `database.act_sql` creates its database user."""

from pgoperator import labels, naming
from pgoperator.api.pooling import PgBouncer
from pgoperator.errors import InvalidSpec
from pgoperator.kube.manifest import Manifest
from pgoperator.postgres import pgbouncer, pgbouncer_sizes
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.instances import build_services
from reconcilers.pgcluster.lifecycle import decide_pause
from reconcilers.pgcluster.patroni import build_dynamic_config
from reconcilers.pgcluster.pods import build_customization, build_pod
from reconcilers.pgcluster.pods.build_customization import Part
from reconcilers.pgcluster.state.view import View

_OURS = "~postgres-operator"
_CERTIFICATE_SECONDS = 60


def desired(view: View) -> list[Manifest] | Wait:
    """All objects of the pooler; none without `spec.proxy.pgBouncer`."""
    pooler = view.cluster.spec.pg_bouncer
    if pooler is None:
        return []
    [part] = build_customization.of_pooler(view.cluster.spec)
    shared = [*build_customization.claims(view, part), _config_map(view, pooler), _service(view, pooler)]
    if not view.secrets[naming.pgbouncer(view.name)].get("pgbouncer-frontend.crt"):
        # The problem of the user's Secret shows the cause.
        return Wait(
            "pgBouncer waits for a valid certificate in spec.proxy.pgBouncer.customTLSSecret",
            _CERTIFICATE_SECONDS,
        )
    return [*shared, _deployment(view, pooler, part)]


def _config_map(view: View, pooler: PgBouncer) -> Manifest:
    ini = pgbouncer.ini(
        host=naming.primary(view.name),
        port=view.cluster.spec.port,
        listen_port=pooler.port,
        config_global=pooler.config.global_options,
        databases=pooler.config.databases,
        users=pooler.config.users,
        sizes=_sizes(view, pooler),
        paused=pooler.paused,
    )
    metadata = view.metadata(
        naming.pgbouncer(view.name),
        {labels.ROLE: labels.ROLE_PGBOUNCER},
        pooler.metadata,
        component="pgbouncer",
        versioned=True,
    )
    data = {"pgbouncer.ini": ini, "pgbouncer-empty": ""}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _sizes(view: View, pooler: PgBouncer) -> dict[str, str]:
    """Limits that fit PostgreSQL's `max_connections` and leave the user's settings their effect."""
    config = pooler.config
    databases = {name for user in view.cluster.spec.users or () for name in user.databases}
    fitting = pgbouncer_sizes.sizes(
        build_dynamic_config.max_connections(view), pooler.replicas, len(databases)
    )
    entries = bool(config.databases or config.users or config.files)
    return pgbouncer_sizes.beside(fitting, config.global_options, entries=entries)


def _service(view: View, pooler: PgBouncer) -> Manifest:
    name, port_name = naming.pgbouncer(view.name), naming.PGBOUNCER_PORT_NAME
    port = {"name": port_name, "port": pooler.port, "protocol": "TCP", "targetPort": port_name}
    spec = build_services.exposure(pooler.expose, port, name)
    metadata = view.metadata(
        name,
        {labels.ROLE: labels.ROLE_PGBOUNCER},
        pooler.metadata,
        pooler.expose,
        component="pgbouncer",
        versioned=True,
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
        annotations={labels.DEFAULT_CONTAINER: naming.PGBOUNCER_CONTAINER}
        | build_customization.annotations(view, part),
    )
    selector = {"matchLabels": labels.pgbouncer(view.name)}
    spec = build_pod.pod_spec(
        view,
        pooler,
        containers=[_container(view, pooler, part)],
        volumes=[
            _config_volume(view, pooler),
            {"name": "pgbouncer-logs", "emptyDir": {}},
            build_pod.scripts_volume(view.name),
            build_pod.TMP_VOLUME,
        ],
        account=None,
        selector=selector,
    )
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": view.metadata(name, own, pooler.metadata, component="pgbouncer"),
        "spec": {
            "replicas": decide_pause.pooler_replicas(view, pooler.replicas),
            "selector": selector,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}},
            "revisionHistoryLimit": 0,
            "template": {
                "metadata": {key: template[key] for key in ("labels", "annotations")},
                "spec": build_customization.extend(view, spec, part),
            },
        },
    }


def _container(view: View, pooler: PgBouncer, part: Part) -> Manifest:
    # The probe sends the first bytes of PostgreSQL's protocol: only a process whose event loop runs answers.
    # It does not test the primary: without a primary, clients should queue in pgBouncer and not be refused.
    check = {"exec": {"command": build_pod.script("pgbouncer-check.sh")}, "timeoutSeconds": 5}
    return build_pod.container(
        view,
        naming.PGBOUNCER_CONTAINER,
        build_pod.image(view, pooler.image, "pgbouncer"),
        command=build_pod.script("pgbouncer.sh", pgbouncer.CONFIG),
        **build_customization.variables(part, [{"name": "PGBOUNCER_PORT", "value": str(pooler.port)}]),
        ports=[{"name": naming.PGBOUNCER_PORT_NAME, "containerPort": pooler.port, "protocol": "TCP"}],
        resources=pooler.resources,
        livenessProbe={**check, "periodSeconds": 10, "failureThreshold": 3},
        readinessProbe={**check, "periodSeconds": 5, "failureThreshold": 2},
        volumeMounts=[
            {"name": "pgbouncer-config", "mountPath": naming.PGBOUNCER_CONF_PATH, "readOnly": True},
            {"name": "pgbouncer-logs", "mountPath": "/var/logs"},
            build_pod.SCRIPTS_MOUNT,
            build_pod.TMP_MOUNT,
        ],
    )


def _config_volume(view: View, pooler: PgBouncer) -> Manifest:
    name = naming.pgbouncer(view.name)
    return build_pod.projected(
        "pgbouncer-config",
        [
            *_files(name, pooler),
            build_pod.from_secret(
                name,
                {
                    "pgbouncer-users.txt": f"{_OURS}/users.txt",
                    "pgbouncer-frontend.ca-roots": f"{_OURS}/frontend-ca.crt",
                    "pgbouncer-frontend.crt": f"{_OURS}/frontend-tls.crt",
                    "pgbouncer-frontend.key": f"{_OURS}/frontend-tls.key",
                },
            ),
            build_pod.from_secret(
                naming.cluster_certificate(view.name), {"ca.crt": f"{_OURS}/backend-ca.crt"}
            ),
        ],
        # The image's user is in no group that the files could belong to; the container has no other user.
        mode=0o444,
    )


def _files(name: str, pooler: PgBouncer) -> list[Manifest]:
    """The operator's configuration, and the user's files in place of the empty file that it includes."""
    ours, empty = {"pgbouncer.ini": f"{_OURS}.ini"}, {"pgbouncer-empty": "pgbouncer.ini"}
    files = pooler.config.files
    if not files:
        return [build_pod.from_config_map(name, ours | empty)]
    paths = [
        item["path"]
        for source in files
        for projection in source.values()
        if isinstance(projection, dict)
        for item in projection.get("items") or ()
    ]
    if taken := next((path for path in paths if path.startswith(_OURS)), None):
        raise InvalidSpec(
            f"spec.proxy.pgBouncer.config.files: the path {taken!r} is reserved for the operator; "
            "choose another path",
            reason=build_customization.REASON,
        )
    # Kubernetes refuses a path that two items name; of whole objects with the same key, the later wins.
    own = "pgbouncer.ini" in paths
    return [
        *([] if own else [build_pod.from_config_map(name, empty)]),
        *files,
        build_pod.from_config_map(name, ours),
    ]
