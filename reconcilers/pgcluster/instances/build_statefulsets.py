"""The instances: one StatefulSet with one pod each, and their volume claims. Pure."""

import json

from pgoperator import labels, naming
from pgoperator.api.instances import InstanceSet
from pgoperator.errors import InvalidSpec
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.backups import build_repo_host
from reconcilers.pgcluster.bootstrap import decide_restore_gate
from reconcilers.pgcluster.instances import build_pmm_sidecar, build_volumes
from reconcilers.pgcluster.lifecycle import decide_pause
from reconcilers.pgcluster.pods import build_customization, build_pod
from reconcilers.pgcluster.pods.build_customization import Part
from reconcilers.pgcluster.state import primary_mark, provenance
from reconcilers.pgcluster.state.view import Planned, View

STANDBY = (
    "spec.standby.enabled: standby clusters are not supported: no instance starts; set it to false if this "
    "cluster should accept writes"
)


def desired(view: View) -> list[Manifest]:
    """Volume claims and StatefulSets of the planned instances.

    An instance that must not start yet (a restore, another marked instance) has its claims only. Raises
    InvalidSpec for a standby cluster that does not run: it would start as a primary that accepts writes.
    """
    spec = view.cluster.spec
    if spec.standby.enabled and not any(i.stateful_set for i in view.observed.instances):
        raise InvalidSpec(STANDBY, reason="StandbyNotSupported")
    parts = dict(
        zip((s.name for s in spec.instance_sets()), build_customization.of_instances(spec), strict=True)
    )
    sets = {s.name: s for s in spec.instance_sets()}
    claims = [claim for part in parts.values() for claim in build_customization.claims(view, part)]
    return claims + [
        m for p in view.planned for m in _of_instance(view, p, sets[p.set_name], parts[p.set_name])
    ]


def _of_instance(view: View, planned: Planned, instance_set: InstanceSet, part: Part) -> list[Manifest]:
    claims = _claims(view, planned, instance_set)
    exists = any(i.name == planned.name and i.stateful_set is not None for i in view.observed.instances)
    # An existing StatefulSet stays; `decide_pause.replicas` keeps its pod from starting.
    waits = primary_mark.waits(view.observed, planned.name) and not exists
    if waits or not decide_restore_gate.may_run(view.restoring, planned.name):
        return claims
    return [*claims, _stateful_set(view, planned, instance_set, part)]


def _claims(view: View, planned: Planned, instance_set: InstanceSet) -> list[Manifest]:
    own = {labels.ROLE: labels.ROLE_PGDATA, labels.DATA: labels.DATA_POSTGRES}
    name, spec = naming.instance_volume(planned.name), instance_set.data_volume_claim_spec
    data = build_volumes.claim(view, planned, instance_set, name=name, own=own, spec=spec)
    if provenance.awaits_data(view, planned.name):
        data["metadata"].setdefault("annotations", {})[labels.AWAITS_DATA] = "true"
    return [data, *build_volumes.claims(view, planned, instance_set)]


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
        | build_customization.annotations(view, *_sections(view, part))
        | build_pmm_sidecar.annotations(view),
    )
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata,
        "spec": {
            "replicas": decide_pause.replicas(view, planned.name),
            "serviceName": naming.pods(view.name),
            "selector": {"matchLabels": labels.instance(view.name, planned.set_name, planned.name)},
            # The operator restarts the pods itself, replicas first: each StatefulSet has a single pod.
            "updateStrategy": {"type": "OnDelete"},
            "revisionHistoryLimit": 0,
            "template": {
                "metadata": {key: template_metadata[key] for key in ("labels", "annotations")},
                "spec": _pod(view, planned, instance_set, part),
            },
        },
    }


def _sections(view: View, part: Part) -> list[Part]:
    """The sections of the spec whose variables the pod has."""
    return [part, *([build_customization.of_pgbackrest(view.cluster.spec)] if view.backups_enabled else [])]


def _pod(view: View, planned: Planned, instance_set: InstanceSet, part: Part) -> Manifest:
    containers = [_database(view, planned, instance_set, part)]
    volume_arguments = view.observed, planned.name, instance_set
    storage = [
        _certificates(view),
        {
            "name": "postgres-data",
            "persistentVolumeClaim": {"claimName": naming.instance_volume(planned.name)},
        },
        _patroni_volume(view, planned),
        build_pod.scripts_volume(view.name),
        build_pod.TMP_VOLUME,
        {"name": "dshm", "emptyDir": {"medium": "Memory"}},
        *build_volumes.volumes(*volume_arguments),
        *_files(view),
    ]
    if view.backups_enabled:
        containers.append(
            build_repo_host.server(view, [_data_mount(), *build_volumes.mounts(*volume_arguments)])
        )
        storage += build_repo_host.instance_volumes(view, planned)
    storage += [{"name": volume.name, **volume.volume_source} for volume in instance_set.extra_volumes]
    containers += build_pmm_sidecar.containers(view, _data_mount())
    storage += build_pmm_sidecar.volumes(view)
    pod = build_pod.pod_spec(
        view,
        instance_set,
        containers=containers,
        volumes=storage,
        account=naming.instance_account(view.name),
        selector=build_pod.database_selector(view.name),
        fs_group=build_pod.POSTGRES_GROUP,
    )
    return build_customization.extend(view, pod, part)


def _data_mount() -> Manifest:
    return {"name": "postgres-data", "mountPath": naming.DATA_PATH}


def _added_mounts(instance_set: InstanceSet) -> list[Manifest]:
    """The user's mounts in the container `database`."""
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
        build_pod.SCRIPTS_MOUNT,
        build_pod.TMP_MOUNT,
        *build_volumes.mounts(view.observed, planned.name, instance_set),
        *(
            {"name": volume["name"], "mountPath": naming.POSTGRES_CONF_PATH, "readOnly": True}
            for volume in _files(view)
        ),
    ]
    if view.backups_enabled:
        mounts.append(build_repo_host.CONFIG_MOUNT)
    period = patroni.sync_period_seconds
    return build_pod.container(
        view,
        naming.DATABASE_CONTAINER,
        build_pod.image(view, spec.image, "postgres", spec.postgres_version),
        command=build_pod.script("database.sh"),
        **build_customization.variables(part, _environment(view, planned, instance_set, part)),
        ports=[
            {"name": naming.POSTGRES_PORT_NAME, "containerPort": spec.port, "protocol": "TCP"},
            {"name": naming.PATRONI_PORT_NAME, "containerPort": patroni.port, "protocol": "TCP"},
        ],
        resources=instance_set.resources,
        volumeMounts=build_customization.mounted(mounts, _added_mounts(instance_set), part.path),
        # Until Patroni has answered once, the kubelet does not kill the container for one day: the user may
        # be repairing the data by hand while `database.sh` sleeps.
        startupProbe=_probe("/liveness", periodSeconds=1, failureThreshold=86400),
        livenessProbe=_probe(
            "/liveness",
            periodSeconds=period,
            failureThreshold=max(1, patroni.leader_lease_duration_seconds // period),
        ),
        # Short period: Services and the cluster's readiness depend on this probe.
        readinessProbe=_probe("/readiness", periodSeconds=2, failureThreshold=3),
    )


def _probe(path: str, **timing: int) -> Manifest:
    get = {"path": path, "port": naming.PATRONI_PORT_NAME, "scheme": "HTTPS"}
    return {"httpGet": get, "timeoutSeconds": 5, "successThreshold": 1, **timing}


def _environment(view: View, planned: Planned, instance_set: InstanceSet, part: Part) -> list[Manifest]:
    """Settings of a single member for Patroni, the scripts and PostgreSQL's programs."""
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
        **build_volumes.environment(view.observed, planned.name, instance_set, spec.postgres_version),
    }
    pod_ip = {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}
    plain = [{"name": name, "value": value} for name, value in values.items()]
    return [*plain, {"name": "PATRONI_KUBERNETES_POD_IP", "valueFrom": pod_ip}]


def _files(view: View) -> list[Manifest]:
    """The volume with the user's files for PostgreSQL; the kubelet updates them."""
    sources = view.cluster.spec.config.files
    return [build_pod.projected("postgres-config", sources)] if sources else []


def _authentication_files(view: View, part: Part) -> dict[str, str]:
    """Paths of Kerberos and LDAP files as in Percona Operator, except for variables that the user sets."""
    if not view.cluster.spec.config.files:
        return {}
    folder, taken = naming.POSTGRES_CONF_PATH, {variable["name"] for variable in part.environment.env}
    values = {
        "KRB5_CONFIG": f"{folder}/krb5.conf",
        "KRB5RCACHEDIR": "/tmp",  # noqa: S108 - inside the container
        "LDAPTLS_CACERT": f"{folder}/ldap/ca.crt",
    }
    return {name: value for name, value in values.items() if name not in taken}


def _certificates(view: View) -> Manifest:
    keys = ("tls.crt", "tls.key", "ca.crt")
    return build_pod.projected(
        "cert-volume",
        [
            build_pod.from_secret(naming.cluster_certificate(view.name), {key: key for key in keys}),
            build_pod.from_secret(
                naming.replication_certificate(view.name), {key: f"replication/{key}" for key in keys}
            ),
        ],
    )


def _patroni_volume(view: View, planned: Planned) -> Manifest:
    return build_pod.projected(
        "patroni-config",
        [
            build_pod.from_config_map(
                naming.cluster_config(view.name), {"patroni.yaml": "~postgres-operator_cluster.yaml"}
            ),
            build_pod.from_config_map(
                naming.instance_config(planned.name), {"patroni.yaml": "~postgres-operator_instance.yaml"}
            ),
            build_pod.from_secret(
                naming.instance_certificates(planned.name),
                {
                    "patroni.ca-roots": "~postgres-operator/patroni.ca-roots",
                    "patroni.crt-combined": "~postgres-operator/patroni.crt+key",
                },
            ),
            # For `write-check.sh`. A pooler that comes or goes must not restart instances.
            build_pod.from_secret(
                naming.pgbouncer(view.name),
                {"pgbouncer-password": "~postgres-operator/pooler-password"},
                optional=True,
            ),
        ],
    )
