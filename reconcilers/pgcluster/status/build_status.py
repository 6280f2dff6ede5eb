"""The status of a cluster: pure, from the view and the result of a pass.

`state` has the values of Percona Operator; the conditions show the cause and follow kstatus: Ready,
Progressing and Degraded always agree with `state`. A cluster is ready only when all specified instances
serve: a replica that does not stream, or has not caught up, does not count.
"""

from collections.abc import Sequence

from pgoperator import naming
from pgoperator.api.status import (
    InstanceSetStatus,
    PatroniState,
    PatroniStatus,
    PgBackRestStatus,
    PgBouncerStatus,
    PGClusterStatus,
    PostgresStatus,
)
from pgoperator.kube.manifest import Manifest, is_deleting
from reconcilers.pgcluster.backups import build_backup_status, decide_backup_request, decide_readiness
from reconcilers.pgcluster.lifecycle import decide_pause
from reconcilers.pgcluster.state import replication
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.view import Instance, View, is_ready
from reconcilers.pgcluster.status.conditions import PassResult, findings, merged


def all_ready(view: View) -> bool:
    """Whether every pod that the spec requires exists and is ready."""
    observed, spec = view.observed, view.cluster.spec
    pods = sum(i.is_ready for i in observed.instances) >= spec.replicas
    # A terminating pod counts: only a new pod that does not become ready matters during a replacement.
    poolers = len(observed.pooler_pods) >= (spec.pg_bouncer.replicas if spec.pg_bouncer else 0) and all(
        is_ready(pod) or is_deleting(pod) for pod in observed.pooler_pods
    )
    return pods and poolers and (not view.backups_enabled or decide_readiness.host_ready(view))


def status(
    view: View, result: PassResult, cache: ClusterCache, claims: Sequence[Manifest]
) -> PGClusterStatus:
    """The complete status; `claims` are the volume claims of the cluster."""
    spec, observed = view.cluster.spec, view.observed
    sets = tuple(_set_status(view, cache, s.name, s.replicas) for s in spec.instance_sets())
    size, ready = sum(s.size for s in sets), sum(s.ready for s in sets)
    pooler = PgBouncerStatus(
        size=spec.pg_bouncer.replicas if spec.pg_bouncer else 0,
        ready=sum(is_ready(pod) for pod in observed.pooler_pods) if spec.pg_bouncer else 0,
    )
    missing = _missing(view, result, cache, (ready, size), pooler)
    previous = view.cluster.status
    report = cache.sql.facts
    postgres = PostgresStatus(
        size=size,
        ready=ready,
        instances=sets,
        version=report.server_version_num // 10000
        if report
        else previous.postgres and previous.postgres.version,
        image_id=_image_id(observed.primary) or (previous.postgres.image_id if previous.postgres else None),
    )
    version = next((i.member.version for i in observed.instances if i.member.version), None)
    conditions = findings(view, result, missing, claims)
    return PGClusterStatus(
        state=_state(view, missing),
        host=_host(view),
        postgres=postgres,
        pgbouncer=pooler,
        patroni=PatroniStatus(
            version=version,
            status=PatroniState(
                system_identifier=_system_identifier(view),
                switchover=result.change.carried_out,
                switchover_timeline=result.change.timeline,
            ),
        ),
        patroni_version=version,
        pgbackrest=_backups(view, result, cache, claims),
        database_init_sql=result.init_sql,
        conditions=merged(previous, conditions, view.cluster.metadata.generation, view.now),
        observed_generation=view.cluster.metadata.generation,
    )


def _system_identifier(view: View) -> str | None:
    """PostgreSQL's system identifier; once set it stays. Not set while the restore of a new cluster runs."""
    patroni = view.cluster.status.patroni
    stored = patroni.status.system_identifier if patroni is not None and patroni.status is not None else None
    if stored or (view.restoring is not None and view.restoring.bootstrap):
        return stored
    return view.observed.system_identifier or None


def _backups(
    view: View, result: PassResult, cache: ClusterCache, claims: Sequence[Manifest]
) -> PgBackRestStatus | None:
    """Backups and the last requested backup and restore; the restore stays when backups are disabled."""
    backups = build_backup_status.status(
        view, result.backups, result.stanza_hash, claims, checked=result.stanza_checked
    )
    before = view.cluster.status.pgbackrest
    restore = cache.requested or (before.restore if before else None)
    if backups is None:
        return PgBackRestStatus(restore=restore) if restore else None
    update = {
        "manual_backup": decide_backup_request.status(view, result.backups),
        "restore": restore,
        "restore_drill": result.drill,
        "imported_backups": cache.imports.handled or (before.imported_backups if before else None),
    }
    return backups.model_copy(update=update)


def _set_status(view: View, cache: ClusterCache, name: str, size: int) -> InstanceSetStatus:
    planned = {p.name for p in view.planned}
    ready = sum(
        replication.serves(i, cache)
        for i in view.observed.instances
        if i.set_name == name and i.name in planned
    )
    return InstanceSetStatus(name=name, size=size, ready=ready)


def _missing(
    view: View, result: PassResult, cache: ClusterCache, postgres: tuple[int, int], pooler: PgBouncerStatus
) -> list[str]:
    """What does not match the spec yet, as sentences; empty means ready."""
    missing = []
    if view.observed.primary is None:
        missing.append("no primary accepts writes")
    ready, size = postgres
    if ready < size:
        absent = [
            i.pod_name
            for i in view.observed.instances
            if i.name in {p.name for p in view.planned} and not replication.serves(i, cache)
        ]
        missing.append(
            f"{ready} of {size} instances are ready"
            + (f"; waiting for {', '.join(absent)}" if absent else "")
        )
    extra = [i.pod_name for i in view.observed.instances if i.name not in {p.name for p in view.planned}]
    if extra:
        missing.append(f"instances to be removed: {', '.join(extra)}")
    if pooler.ready < pooler.size:
        missing.append(f"{pooler.ready} of {pooler.size} pgBouncer pods are ready")
    if view.backups_enabled and not decide_readiness.host_ready(view):
        missing.append("the repository host is not ready")
    if not result.access_is_current and view.observed.primary is not None:
        missing.append("users and databases are being set up")
    if result.change.rolling:
        missing.append(result.change.rolling)
    missing += [problem.message for problem in result.problems if problem.message not in missing]
    return missing


def _state(view: View, missing: list[str]) -> str:
    """`status.state`."""
    if view.paused:
        return "stopping" if decide_pause.left(view) else "paused"
    return "initializing" if missing else "ready"


def _host(view: View) -> str:
    """The host for clients: pgBouncer's load balancer or Service, else the Service of the primary."""
    pooler = view.cluster.spec.pg_bouncer
    if pooler is None:
        return f"{naming.primary(view.name)}.{view.namespace}.svc"
    if pooler.expose.type != "LoadBalancer":
        return f"{naming.pgbouncer(view.name)}.{view.namespace}.svc"
    service = view.observed.pooler_service or {}
    ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress", [])
    return next((i.get("hostname") or i.get("ip", "") for i in ingress), "")


def _image_id(primary: Instance | None) -> str | None:
    for container in (
        (primary.pod if primary and primary.pod else {}).get("status", {}).get("containerStatuses", [])
    ):
        if container["name"] == naming.DATABASE_CONTAINER:
            return container.get("imageID") or None
    return None
