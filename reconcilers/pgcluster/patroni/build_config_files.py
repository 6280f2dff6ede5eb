"""Patroni's configuration files, in ConfigMaps: one for the cluster, one for each instance. Pure.

The files define a member's identity and connections; Patroni reads them at start and on SIGHUP. PostgreSQL's
settings are in the dynamic configuration: the cluster's file contains it only for the bootstrap
(`bootstrap.dcs`); later `act_dynamic_config` updates the copy in `<cluster>-ha-config`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from pgoperator import labels, naming
from pgoperator.kube.manifest import Manifest
from reconcilers import files
from reconcilers.pgcluster.bootstrap import decide_restore_gate
from reconcilers.pgcluster.patroni import build_dynamic_config, build_hooks, decide_lease
from reconcilers.pgcluster.state.view import Planned, View

HEADER = "# Written by the operator; changes made here do not last.\n"

# Replication uses certificates; their files belong to root and are readable by the group,
# which libpq accepts (https://www.postgresql.org/docs/current/libpq-ssl.html).
_REPLICATION = {
    "username": naming.REPLICATION_USER,
    "sslmode": "verify-ca",
    "sslcert": f"{naming.TLS_PATH}/replication/tls.crt",
    "sslkey": f"{naming.TLS_PATH}/replication/tls.key",
    "sslrootcert": f"{naming.TLS_PATH}/ca.crt",
}
_REST_CERTIFICATE = f"{naming.PATRONI_PATH}/~postgres-operator/patroni.crt+key"
_REST_AUTHORITY = f"{naming.PATRONI_PATH}/~postgres-operator/patroni.ca-roots"


def desired(view: View) -> list[Manifest]:
    """The ConfigMaps: the scripts, the cluster's file and a file for each instance."""
    scripts, cluster = (view.metadata(of(view.name), {}) for of in (naming.scripts, naming.cluster_config))
    return [
        _config_map(scripts, {name: files.read(name) for name in files.SCRIPTS} | _pooler(view)),
        _config_map(cluster, {"patroni.yaml": cluster_yaml(view)}),
        *(_instance(view, planned) for planned in view.planned),
    ]


def _pooler(view: View) -> dict[str, str]:
    """Where `write-check.sh` asks pgBouncer.

    It does not ask one that holds its clients, has the user's databases, or wants more than a password.
    """
    pooler = view.cluster.spec.pg_bouncer
    if pooler is None or pooler.paused or pooler.config.databases:
        return {}
    own = pooler.config.global_options
    if own.keys() & {"auth_dbname", "auth_query", "auth_hba_file"} or (
        own.get("client_tls_sslmode", "").lower().startswith("verify")
        or own.get("auth_type", "scram-sha-256").lower() not in ("scram-sha-256", "md5")
    ):
        return {}
    return {"pooler": f"{naming.pgbouncer(view.name)}.{view.namespace}.svc {pooler.port}\n"}


def _config_map(metadata: Manifest, data: dict[str, str]) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _instance(view: View, planned: Planned) -> Manifest:
    has_wal = {s.name: s.wal_volume_claim_spec is not None for s in view.cluster.spec.instance_sets()}
    own = labels.instance(view.name, planned.set_name, planned.name)
    section = next(
        (s.metadata for s in view.cluster.spec.instance_sets() if s.name == planned.set_name), None
    )
    name = naming.instance_config(planned.name)
    return _config_map(
        view.metadata(name, own, section, component="pg", versioned=True),
        {
            "patroni.yaml": instance_yaml(
                may_lead=decide_restore_gate.may_lead(view.restoring, planned.name),
                methods=_replica_methods(view),
                repo=_first_repo(view),
                discards=view.cluster.spec.patroni.remove_data_directory_on_diverged_timelines,
                wal=naming.wal_directory(view.cluster.spec.postgres_version)
                if has_wal[planned.set_name]
                else "",
                hooks=build_hooks.hooks(view),
            )
        },
    )


def cluster_yaml(view: View) -> str:
    """Patroni's file for all members, as YAML."""
    document = {
        "scope": naming.patroni_scope(view.name),
        "kubernetes": {
            "namespace": view.namespace,
            "use_endpoints": True,
            "scope_label": labels.PATRONI,
            "role_label": labels.ROLE,
            # Fixed labels only: Patroni finds its members by them.
            "labels": labels.of_cluster(view.name),
        },
        "postgresql": {"authentication": {"replication": _REPLICATION, "rewind": _REPLICATION}},
        "restapi": {
            "cafile": _REST_AUTHORITY,
            "certfile": _REST_CERTIFICATE,
            # GET needs no certificate, so that the kubelet can probe; requests that change something do.
            "verify_client": "optional",
            # By default Patroni 4.1 has five threads, and waits without a limit for a client that is silent:
            # five idle connections of any pod would keep the kubelet's probes from an answer.
            "thread_pool_size": 100,
        },
        "ctl": {"cacert": _REST_AUTHORITY, "certfile": _REST_CERTIFICATE, "insecure": False},
        "watchdog": _watchdog(view),
        "bootstrap": {"dcs": build_dynamic_config.dynamic_configuration(view)},
    }
    return HEADER + yaml.safe_dump(document, sort_keys=True)


def _watchdog(view: View) -> dict[str, Any]:
    """The watchdog, which stops PostgreSQL before the lease ends when Patroni cannot (`watchdog.sh`).

    This section of the file hides that of the dynamic configuration, so the user's settings are merged here.
    """
    user = view.cluster.spec.patroni.dynamic_configuration
    # After `retry_timeout` without the API server, failsafe mode needs time to query the members.
    margin = min(5, decide_lease.fitted(view.cluster.spec.patroni).retry_timeout // 2)
    ours = {"mode": "automatic", "driver": "testing", "device": naming.WATCHDOG_PIPE}
    return ours | {"safety_margin": margin} | build_dynamic_config.section(user, "watchdog", "watchdog")


def _replica_methods(view: View) -> list[str]:
    """How a new replica gets its data: from a backup if one exists, which spares the primary the load."""
    methods: Sequence[str] = view.cluster.spec.patroni.create_replica_methods or ("pgbackrest", "basebackup")
    status = view.cluster.status.pgbackrest
    first = next(iter(view.repos), None)
    repos = {repo.name: repo for repo in status.repos} if status else {}
    has_backup = (
        first is not None and first.name in repos and repos[first.name].replica_create_backup_complete
    )
    # During a restore, backups may be from after the restore's target.
    usable = [m for m in methods if m == "basebackup" or (has_backup and view.restoring is None)]
    return usable or ["basebackup"]


def _first_repo(view: View) -> int:
    return next((repo.number for repo in view.repos), 1)


def instance_yaml(
    *,
    may_lead: bool = True,
    methods: Sequence[str] = ("basebackup",),
    repo: int = 1,
    discards: bool = False,
    wal: str = "",
    hooks: Mapping[str, Any] | None = None,
) -> str:
    """Patroni's file for one member, as YAML; settings of a single member are environment variables.

    `methods` are Patroni's `create_replica_methods`, `repo` the number of the repository for new replicas.
    `discards`: a former primary with a diverged timeline is reinitialized without an attempt to rewind it.
    `wal` is the WAL directory, "" without a WAL volume. A member that must not lead (`may_lead`) never
    becomes the primary. `hooks` are the commands that Patroni runs (`build_hooks`).
    """
    waldir = [{"waldir": wal}] if wal else []
    document: dict[str, Any] = {
        "postgresql": {
            # A member that cannot be rewound to the primary's timeline is reinitialized, instead of being
            # retried indefinitely.
            "remove_data_directory_on_rewind_failure": True,
            "pgpass": "/tmp/.pgpass",  # noqa: S108 - the pod's own emptyDir
            "use_unix_socket": True,
            "create_replica_methods": list(methods),
            # With a spread checkpoint, the copy would begin minutes later.
            "basebackup": [{"checkpoint": "fast"}, *waldir],
            **(hooks or {}),
        },
        "bootstrap": {"initdb": ["data-checksums", {"encoding": "UTF8"}, *waldir]},
    }
    if "pgbackrest" in methods:
        document["postgresql"]["pgbackrest"] = {
            "command": f"bash {naming.SCRIPTS_PATH}/replica-create.sh {repo}",
            # Existing files are not fetched again, and no leader is needed. If a leader exists, Patroni
            # passes its address to the script.
            "keep_data": True,
            "no_leader": True,
        }
    if not may_lead:
        # Its data is from before the restore: it may follow, but must never become the primary.
        document["tags"] = {"nofailover": True}
    if discards or not may_lead:
        document["postgresql"]["remove_data_directory_on_diverged_timelines"] = True
    return HEADER + yaml.safe_dump(document, sort_keys=True)
