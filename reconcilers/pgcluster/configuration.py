"""Patroni's configuration: two files in ConfigMaps and the dynamic part that lives in Kubernetes.

The files say who a member is and how it talks; Patroni reads them at start and on SIGHUP. What PostgreSQL
runs with is the dynamic configuration: the file carries it for the first start of a cluster only
(`bootstrap.dcs`), later `patroni.act` keeps the copy in `<cluster>-ha-config` right.
"""

from collections.abc import Sequence
from typing import Any

import yaml

from pgoperator import labels, naming
from pgoperator.errors import InvalidSpec
from pgoperator.kube.manifest import Manifest
from pgoperator.postgres import hba, parameters, pgbackrest
from pgoperator.postgres.extensions import libraries
from reconcilers import files
from reconcilers.pgcluster import extensions, restoring
from reconcilers.pgcluster.view import Planned, View

# pgBackRest's own command, within bounds: a repository that is gone must not hold up replicas or a promotion.
RESTORE_COMMAND = f'bash {naming.SCRIPTS_PATH}/archive-get.sh %f "%p"'

HEADER = "# Written by the operator; changes made here do not last.\n"

# Members follow one another by certificate; the certificate's files are root's and readable by the group,
# which libpq accepts (https://www.postgresql.org/docs/current/libpq-ssl.html).
_REPLICATION = {
    "username": naming.REPLICATION_USER,
    "sslmode": "verify-ca",
    "sslcert": f"{naming.TLS_PATH}/replication/tls.crt",
    "sslkey": f"{naming.TLS_PATH}/replication/tls.key",
    "sslrootcert": f"{naming.TLS_PATH}/replication/ca.crt",
}
_REST_CERTIFICATE = f"{naming.PATRONI_PATH}/~postgres-operator/patroni.crt+key"
_REST_AUTHORITY = f"{naming.PATRONI_PATH}/~postgres-operator/patroni.ca-roots"


def desired(view: View) -> list[Manifest]:
    """ConfigMaps: the scripts, the cluster's file and one file for each instance."""
    return [
        _config_map(view, naming.scripts(view.name), {}, {name: files.read(name) for name in files.SCRIPTS}),
        _config_map(view, naming.cluster_config(view.name), {}, {"patroni.yaml": cluster_yaml(view)}),
        *(_instance(view, planned) for planned in view.planned),
    ]


def _config_map(view: View, name: str, own: dict[str, str], data: dict[str, str]) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": view.metadata(name, own), "data": data}


def _instance(view: View, planned: Planned) -> Manifest:
    has_wal = {one.name: one.wal_volume_claim_spec is not None for one in view.cluster.spec.instance_sets()}
    own = labels.instance(view.name, planned.set_name, planned.name)
    return _config_map(
        view,
        naming.instance_config(planned.name),
        own,
        {
            "patroni.yaml": instance_yaml(
                may_lead=restoring.may_lead(view.restoring, planned.name),
                methods=_replica_methods(view),
                repo=_first_repo(view),
                discards=view.cluster.spec.patroni.remove_data_directory_on_diverged_timelines,
                wal=naming.wal_directory(view.cluster.spec.postgres_version)
                if has_wal[planned.set_name]
                else "",
            )
        },
    )


def cluster_yaml(view: View) -> str:
    """The file that all members share."""
    document = {
        "scope": naming.patroni_scope(view.name),
        "kubernetes": {
            "namespace": view.namespace,
            "use_endpoints": True,
            "scope_label": labels.PATRONI,
            "role_label": labels.ROLE,
            # Nothing that a user may change: Patroni finds its members by these.
            "labels": labels.of_cluster(view.name),
        },
        "postgresql": {"authentication": {"replication": _REPLICATION, "rewind": _REPLICATION}},
        "restapi": {
            "cafile": _REST_AUTHORITY,
            "certfile": _REST_CERTIFICATE,
            # Reading is free, so that kubelet can probe; whatever changes something needs a certificate.
            "verify_client": "optional",
        },
        "ctl": {"cacert": _REST_AUTHORITY, "certfile": _REST_CERTIFICATE, "insecure": False},
        "watchdog": _watchdog(view),
        "bootstrap": {"dcs": dynamic_configuration(view)},
    }
    return HEADER + yaml.safe_dump(document, sort_keys=True)


def _watchdog(view: View) -> dict[str, Any]:
    """Who stops PostgreSQL before the lease ends when Patroni cannot (`watchdog.sh`).

    The section of the file hides that of the dynamic configuration, so what the user wants is put in here.
    """
    user = view.cluster.spec.patroni.dynamic_configuration
    # When the API server has not answered for so long, failsafe mode needs time to ask the members.
    retry = user.get("retry_timeout")
    margin = min(5, max(1, retry // 2)) if isinstance(retry, int) else 5
    ours = {"mode": "automatic", "driver": "testing", "device": naming.WATCHDOG_PIPE}
    return ours | {"safety_margin": margin} | _section(user, "watchdog", "watchdog")


def _replica_methods(view: View) -> list[str]:
    """How a new replica gets its data: from a backup once there is one, as the primary has other work."""
    wanted: Sequence[str] = view.cluster.spec.patroni.create_replica_methods or ("pgbackrest", "basebackup")
    status = view.cluster.status.pgbackrest
    first = next(iter(view.cluster.spec.backups.repos), None)
    known = {repo.name: repo for repo in status.repos} if status else {}
    has_backup = (
        first is not None and first.name in known and known[first.name].replica_create_backup_complete
    )
    # While a restore is under way, the backups may be of a time that is to be undone.
    usable = [m for m in wanted if m == "basebackup" or (has_backup and view.restoring is None)]
    return usable or ["basebackup"]


def _first_repo(view: View) -> int:
    return next((repo.number for repo in view.cluster.spec.backups.repos), 1)


def instance_yaml(
    *,
    may_lead: bool = True,
    methods: Sequence[str] = ("basebackup",),
    repo: int = 1,
    discards: bool = False,
    wal: str = "",
) -> str:
    """The file of one member; what differs from member to member comes by environment.

    `discards`: a former primary whose timeline went its own way is copied anew without trying to rewind it.
    `wal` is the folder of the write-ahead log where that has a volume of its own.
    """
    waldir = [{"waldir": wal}] if wal else []
    document: dict[str, Any] = {
        "postgresql": {
            # A member that cannot be brought onto the primary's timeline is of no use as it is: it is copied
            # anew, instead of being tried for ever.
            "remove_data_directory_on_rewind_failure": True,
            "pgpass": "/tmp/.pgpass",  # noqa: S108 - the pod's own emptyDir
            "use_unix_socket": True,
            "create_replica_methods": list(methods),
            # Whatever becomes of it: a promotion does not wait for it, nor depend on it.
            "pre_promote": f"bash -c 'timeout 10 bash {naming.SCRIPTS_PATH}/pre-promote.sh || true'",
            # A spread checkpoint would make a replica wait for minutes before its copy begins.
            "basebackup": [{"checkpoint": "fast"}, *waldir],
        },
        "bootstrap": {"initdb": ["data-checksums", {"encoding": "UTF8"}, *waldir]},
    }
    if "pgbackrest" in methods:
        document["postgresql"]["pgbackrest"] = {
            "command": f"bash {naming.SCRIPTS_PATH}/replica-create.sh {repo}",
            # What is there already need not be fetched; the leader is not needed for it. Where there is one,
            # the script is told the way to it.
            "keep_data": True,
            "no_leader": True,
        }
    if not may_lead:
        # Its data is of before a restore: it shall follow, by whatever means, and never take over with that.
        document["tags"] = {"nofailover": True}
    if discards or not may_lead:
        document["postgresql"]["remove_data_directory_on_diverged_timelines"] = True
    return HEADER + yaml.safe_dump(document, sort_keys=True)


def dynamic_configuration(view: View) -> dict[str, Any]:
    """What Patroni shall follow: the user's configuration with ours over it."""
    spec, patroni = view.cluster.spec, view.cluster.spec.patroni
    user: dict[str, Any] = dict(patroni.dynamic_configuration or {})
    postgresql = _section(user, "postgresql", "postgresql")
    # A node or an API server that is gone must not stop a database whose members still see one another.
    config: dict[str, Any] = {"failsafe_mode": True} | user
    config["ttl"] = patroni.leader_lease_duration_seconds
    config["loop_wait"] = patroni.sync_period_seconds
    postgresql["use_pg_rewind"] = True
    postgresql.setdefault("use_slots", False)
    postgresql["parameters"] = parameters.effective(
        _section(postgresql, "parameters", "postgresql.parameters"),
        spec.config.parameters,
        archive_command=_archive_command(view),
        restore_command=RESTORE_COMMAND if spec.backups.enabled else "",
        shared_preload=libraries(extensions.enabled(view)),
        missing=view.missing_libraries or (),
        huge_pages=_wants_huge_pages(view),
        track_commit_timestamp=spec.backups.enabled and spec.backups.track_latest_restorable_time,
    )
    if view.missing_libraries is None and view.observed.dynamic_configuration is not None:
        _keep_libraries(postgresql["parameters"], view.observed.dynamic_configuration)
    own_hba = postgresql.get("pg_hba") or []
    if not isinstance(own_hba, list):
        raise _misshapen("postgresql.pg_hba", "a list of lines")
    postgresql["pg_hba"] = hba.lines(spec.authentication.rules, own_hba, spec.tls_only)
    return config | {"postgresql": postgresql}


def _keep_libraries(ours: dict[str, Any], current: dict[str, Any]) -> None:
    """Leave the preloaded libraries as they are, until the server has been asked what its image has."""
    name = "shared_preload_libraries"
    ours.pop(name, None)
    found = (current.get("postgresql") or {}).get("parameters") or {}
    if name in found:
        ours[name] = found[name]


def _section(parent: dict[str, Any], name: str, path: str) -> dict[str, Any]:
    """A part of the user's free-form configuration that must be a mapping."""
    found = parent.get(name) or {}
    if not isinstance(found, dict):
        raise _misshapen(path, "a mapping of names to values")
    return dict(found)


def _misshapen(path: str, wanted: str) -> InvalidSpec:
    return InvalidSpec(
        f"spec.patroni.dynamicConfiguration.{path}: must be {wanted}", reason="InvalidDynamicConfiguration"
    )


def requested(view: View) -> frozenset[str]:
    """Names of the parameters that the user sets and that are the user's to set."""
    dynamic = view.cluster.spec.patroni.dynamic_configuration
    postgresql = dynamic.get("postgresql")
    found = postgresql.get("parameters") if isinstance(postgresql, dict) else None
    names = {**(found if isinstance(found, dict) else {}), **view.cluster.spec.config.parameters}
    set_names = {name.lower() for name, value in names.items() if value is not None}
    return frozenset(set_names - set(parameters.rejected(names)))


def overridden(view: View) -> list[str]:
    """Paths in the CR of what is set there and has no effect, because the operator must decide it."""
    dynamic = view.cluster.spec.patroni.dynamic_configuration
    postgresql = dynamic.get("postgresql") if isinstance(dynamic.get("postgresql"), dict) else {}
    found = postgresql.get("parameters") if isinstance(postgresql, dict) else {}
    names = parameters.rejected(found) if isinstance(found, dict) else []
    path = "spec.patroni.dynamicConfiguration.postgresql.parameters"
    options = pgbackrest.forbidden(view.cluster.spec.backups.pgbackrest.global_options)
    return [f"{path}.{name}" for name in names] + [f"spec.backups.pgbackrest.global.{o}" for o in options]


def _archive_command(view: View) -> str:
    backups = view.cluster.spec.backups
    if not backups.enabled:
        return "true"
    track = backups.track_latest_restorable_time
    return pgbackrest.archive_command(f"{naming.SCRIPTS_PATH}/pgbackrest-push.sh" if track else "")


def _wants_huge_pages(view: View) -> bool:
    return any(
        name.startswith("hugepages-")
        for one in view.cluster.spec.instances
        for name in (one.resources or {}).get("limits") or {}
    )
