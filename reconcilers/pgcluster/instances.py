"""The instances: one StatefulSet of one replica each, with its data volume and its certificates."""

import json

from pgoperator import labels, naming
from pgoperator.api.instances import InstanceSet
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster import extras, pausing, pmm, pods, repository, restoring, volumes
from reconcilers.pgcluster.extras import Part
from reconcilers.pgcluster.view import Planned, View


def desired(view: View) -> list[Manifest]:
    """Volumes and StatefulSets of the planned instances."""
    spec = view.cluster.spec
    parts = dict(zip((one.name for one in spec.instance_sets()), extras.of_instances(spec), strict=True))
    sets = {one.name: one for one in spec.instance_sets()}
    claims = [claim for part in parts.values() for claim in extras.claims(view, part)]
    return claims + [
        m for p in view.planned for m in _of_instance(view, p, sets[p.set_name], parts[p.set_name])
    ]


def _of_instance(view: View, planned: Planned, instance_set: InstanceSet, part: Part) -> list[Manifest]:
    claims = _claims(view, planned, instance_set)
    if not restoring.may_run(view.restoring, planned.name) or _is_held_back(view, planned.name):
        return claims
    return [*claims, _stateful_set(view, planned, instance_set, part)]


def _is_held_back(view: View, name: str) -> bool:
    """Whether an instance waits for the one that was the primary when its cluster was deleted.

    Members compare only with members that they see: an older one that starts first would become the primary,
    and what the newest had more would be lost.
    """
    if view.observed.system_identifier:
        return False
    last = pausing.marked(view.observed.volumes, labels.LAST_PRIMARY) or name
    return name != last and last in {one.name for one in view.planned}


def _claims(view: View, planned: Planned, instance_set: InstanceSet) -> list[Manifest]:
    own = {labels.ROLE: labels.ROLE_PGDATA, labels.DATA: labels.DATA_POSTGRES}
    name, spec = naming.instance_volume(planned.name), instance_set.data_volume_claim_spec
    return [
        volumes.claim(view, planned, instance_set, name=name, own=own, spec=spec),
        *volumes.claims(view, planned, instance_set),
    ]


def _stateful_set(view: View, planned: Planned, instance_set: InstanceSet, part: Part) -> Manifest:
    own = labels.instance(view.name, planned.set_name, planned.name) | {labels.DATA: labels.DATA_POSTGRES}
    version = {labels.VERSION: view.cr_version}
    metadata = view.metadata(planned.name, own | version, instance_set.metadata, component="pg")
    template_metadata = view.metadata(
        planned.name,
        own | version | {labels.PATRONI: naming.patroni_scope(view.name)},
        instance_set.metadata,
        component="pg",
        annotations={labels.DEFAULT_CONTAINER: naming.DATABASE_CONTAINER}
        | extras.annotations(view, part, *extras.of_pgbackrest(view.cluster.spec))
        | pmm.annotations(view),
    )
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata,
        "spec": {
            "replicas": pausing.replicas(view, planned.name),
            "serviceName": naming.pods(view.name),
            "selector": {"matchLabels": labels.instance(view.name, planned.set_name, planned.name)},
            # The operator restarts pods, replicas first; a StatefulSet of one pod knows no order.
            "updateStrategy": {"type": "OnDelete"},
            "revisionHistoryLimit": 0,
            "template": {
                "metadata": {key: template_metadata[key] for key in ("labels", "annotations")},
                "spec": _pod(view, planned, instance_set, part),
            },
        },
    }


def _pod(view: View, planned: Planned, instance_set: InstanceSet, part: Part) -> Manifest:
    containers = [_database(view, planned, instance_set, part)]
    beside = view.observed, planned.name, instance_set
    storage = [
        _certificates(view),
        {
            "name": "postgres-data",
            "persistentVolumeClaim": {"claimName": naming.instance_volume(planned.name)},
        },
        _patroni_volume(view, planned),
        pods.scripts_volume(view.name),
        pods.TMP_VOLUME,
        {"name": "dshm", "emptyDir": {"medium": "Memory"}},
        *volumes.volumes(*beside),
        *_files(view),
    ]
    if view.cluster.spec.backups.enabled:
        containers.append(repository.server(view, [_data_mount(), *volumes.mounts(*beside)]))
        storage += repository.instance_volumes(view, planned)
    storage += [{"name": one.name, **one.volume_source} for one in instance_set.extra_volumes]
    containers += pmm.containers(view, _data_mount())
    storage += pmm.volumes(view)
    pod = pods.pod_spec(
        view,
        instance_set,
        containers=containers,
        volumes=storage,
        account=naming.instance_account(view.name),
        selector=pods.database_selector(view.name),
        fs_group=pods.POSTGRES_GROUP,
    )
    return extras.extend(pod, part)


def _data_mount() -> Manifest:
    return {"name": "postgres-data", "mountPath": naming.DATA_PATH}


def _added_mounts(instance_set: InstanceSet) -> list[Manifest]:
    """Where the container `database` has the user's volumes."""
    own = [
        {"name": volume.name, **mount.to_manifest()}
        for volume in instance_set.extra_volumes
        for mount in volume.mounts
    ]
    return own + list(instance_set.volume_mounts)


def _database(view: View, planned: Planned, instance_set: InstanceSet, part: Part) -> Manifest:
    spec, patroni = view.cluster.spec, view.cluster.spec.patroni
    mounts = [
        {"name": "cert-volume", "mountPath": naming.TLS_PATH, "readOnly": True},
        _data_mount(),
        {"name": "patroni-config", "mountPath": naming.PATRONI_PATH, "readOnly": True},
        {"name": "dshm", "mountPath": "/dev/shm"},  # noqa: S108 - inside the container
        pods.SCRIPTS_MOUNT,
        pods.TMP_MOUNT,
        *volumes.mounts(view.observed, planned.name, instance_set),
        *(
            {"name": one["name"], "mountPath": naming.POSTGRES_CONF_PATH, "readOnly": True}
            for one in _files(view)
        ),
    ]
    if spec.backups.enabled:
        mounts.append(repository.CONFIG_MOUNT)
    period = patroni.sync_period_seconds
    return pods.container(
        view,
        naming.DATABASE_CONTAINER,
        pods.image(view, spec.image, "postgres", spec.postgres_version),
        command=pods.script("database.sh"),
        **extras.variables(part, _environment(view, planned, instance_set, part)),
        ports=[
            {"name": naming.POSTGRES_PORT_NAME, "containerPort": spec.port, "protocol": "TCP"},
            {"name": naming.PATRONI_PORT_NAME, "containerPort": patroni.port, "protocol": "TCP"},
        ],
        resources=instance_set.resources,
        volumeMounts=extras.mounted(mounts, _added_mounts(instance_set), part.path),
        # Until Patroni has answered once, nothing is killed: somebody may be repairing the data by hand while
        # `database.sh` sleeps. Should Patroni hang that early, a day is long enough to have noticed.
        startupProbe=_probe("/liveness", periodSeconds=1, failureThreshold=86400),
        livenessProbe=_probe(
            "/liveness",
            periodSeconds=period,
            failureThreshold=max(1, patroni.leader_lease_duration_seconds // period),
        ),
        # Often, because Services follow it and a cluster is ready no sooner than its probes say so.
        readinessProbe=_probe("/readiness", periodSeconds=2, failureThreshold=3),
    )


def _probe(path: str, **timing: int) -> Manifest:
    get = {"path": path, "port": naming.PATRONI_PORT_NAME, "scheme": "HTTPS"}
    return {"httpGet": get, "timeoutSeconds": 5, "successThreshold": 1, **timing}


def _environment(view: View, planned: Planned, instance_set: InstanceSet, part: Part) -> list[Manifest]:
    """What differs from member to member, and what the script and PostgreSQL's programs look up."""
    spec, patroni = view.cluster.spec, view.cluster.spec.patroni
    data, host = naming.data_directory(spec.postgres_version), naming.pod_host(planned.name, view.name)
    ports = [{"name": naming.POSTGRES_PORT_NAME, "port": spec.port, "protocol": "TCP"}]
    values = {
        "LANG": "en_US.utf-8",
        "LC_ALL": "en_US.utf-8",
        "PATRONICTL_CONFIG_FILE": naming.PATRONI_PATH,
        "PATRONI_KUBERNETES_PORTS": json.dumps(ports),
        "PATRONI_NAME": naming.pod(planned.name),
        "PATRONI_POSTGRESQL_CONFIG_DIR": data,
        "PATRONI_POSTGRESQL_CONNECT_ADDRESS": f"{host}:{spec.port}",
        "PATRONI_POSTGRESQL_DATA_DIR": data,
        "PATRONI_POSTGRESQL_LISTEN": f"*:{spec.port}",
        "PATRONI_RESTAPI_CONNECT_ADDRESS": f"{host}:{patroni.port}",
        "PATRONI_RESTAPI_LISTEN": f"*:{patroni.port}",
        "PGDATA": data,
        "PGHOST": naming.SOCKET_PATH,
        "PGPORT": str(spec.port),
        "PGVERSION": str(spec.postgres_version),
        **_authentication_files(view, part),
        **volumes.environment(view.observed, planned.name, instance_set, spec.postgres_version),
    }
    pod_ip = {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}
    plain = [{"name": name, "value": value} for name, value in values.items()]
    return [*plain, {"name": "PATRONI_KUBERNETES_POD_IP", "valueFrom": pod_ip}]


def _files(view: View) -> list[Manifest]:
    """The user's files for PostgreSQL; kubelet renews them."""
    sources = view.cluster.spec.config.files
    return [pods.projected("postgres-config", sources)] if sources else []


def _authentication_files(view: View, part: Part) -> dict[str, str]:
    """Where libraries look for what the original keeps among those files, unless the user says otherwise."""
    if not view.cluster.spec.config.files:
        return {}
    folder, given = naming.POSTGRES_CONF_PATH, {one["name"] for one in part.environment.env}
    values = {
        "KRB5_CONFIG": f"{folder}/krb5.conf",
        "KRB5RCACHEDIR": "/tmp",  # noqa: S108 - inside the container
        "LDAPTLS_CACERT": f"{folder}/ldap/ca.crt",
    }
    return {name: value for name, value in values.items() if name not in given}


def _certificates(view: View) -> Manifest:
    keys = ("tls.crt", "tls.key", "ca.crt")
    return pods.projected(
        "cert-volume",
        [
            pods.from_secret(naming.cluster_certificate(view.name), {key: key for key in keys}),
            pods.from_secret(
                naming.replication_certificate(view.name), {key: f"replication/{key}" for key in keys}
            ),
        ],
    )


def _patroni_volume(view: View, planned: Planned) -> Manifest:
    return pods.projected(
        "patroni-config",
        [
            pods.from_config_map(
                naming.cluster_config(view.name), {"patroni.yaml": "~postgres-operator_cluster.yaml"}
            ),
            pods.from_config_map(
                naming.instance_config(planned.name), {"patroni.yaml": "~postgres-operator_instance.yaml"}
            ),
            pods.from_secret(
                naming.instance_certificates(planned.name),
                {
                    "patroni.ca-roots": "~postgres-operator/patroni.ca-roots",
                    "patroni.crt-combined": "~postgres-operator/patroni.crt+key",
                },
            ),
        ],
    )
