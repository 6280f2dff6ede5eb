"""The status of a cluster: pure, from what one pass saw and what came of it.

`state` keeps the original's words; the conditions say why, in the manner of kstatus: Ready, Progressing and
Degraded always agree with it. A cluster is ready only when every promised member serves: replicas that do not
stream, or have not caught up, are not there.
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
from reconcilers.pgcluster import archive, followers, on_demand, pausing
from reconcilers.pgcluster.conditions import Outcome, findings, merged
from reconcilers.pgcluster.memory import Memory
from reconcilers.pgcluster.view import Instance, View, is_ready


def serves(instance: Instance, memory: Memory) -> bool:
    """Whether an instance does what it is there for: accepts writes, or is ready and follows."""
    return instance.is_ready and (instance.is_primary or followers.follows(instance, memory))


def all_ready(view: View) -> bool:
    """Whether every pod that the cluster shall have is there and ready."""
    observed, spec = view.observed, view.cluster.spec
    pods = sum(i.is_ready for i in observed.instances) >= spec.replicas
    # While pods are replaced, the old ones serve on: what the new one lacks is of interest all the same.
    poolers = len(observed.pooler_pods) >= (spec.pg_bouncer.replicas if spec.pg_bouncer else 0) and all(
        is_ready(pod) or is_deleting(pod) for pod in observed.pooler_pods
    )
    return pods and poolers and (not spec.backups.enabled or archive.host_ready(view))


def status(view: View, outcome: Outcome, memory: Memory, claims: Sequence[Manifest]) -> PGClusterStatus:
    """The whole status; `claims` are the volume claims of the cluster."""
    spec, observed = view.cluster.spec, view.observed
    sets = tuple(_set_status(view, memory, one.name, one.replicas) for one in spec.instance_sets())
    size, ready = sum(s.size for s in sets), sum(s.ready for s in sets)
    pooler = PgBouncerStatus(
        size=spec.pg_bouncer.replicas if spec.pg_bouncer else 0,
        ready=sum(is_ready(pod) for pod in observed.pooler_pods) if spec.pg_bouncer else 0,
    )
    missing = _missing(view, outcome, memory, (ready, size), pooler)
    previous = view.cluster.status
    facts = memory.facts
    postgres = PostgresStatus(
        size=size,
        ready=ready,
        instances=sets,
        version=facts.server_version_num // 10000
        if facts
        else previous.postgres and previous.postgres.version,
        image_id=_image_id(observed.primary) or (previous.postgres.image_id if previous.postgres else None),
    )
    version = next((i.member.version for i in observed.instances if i.member.version), None)
    conditions = findings(view, outcome, missing, claims)
    return PGClusterStatus(
        state=_state(view, missing),
        host=_host(view),
        postgres=postgres,
        pgbouncer=pooler,
        patroni=PatroniStatus(
            version=version,
            status=PatroniState(
                system_identifier=observed.system_identifier or None,
                switchover=outcome.change.carried_out,
                switchover_timeline=outcome.change.timeline,
            ),
        ),
        patroni_version=version,
        pgbackrest=_backups(view, outcome, memory, claims),
        database_init_sql=outcome.init_sql,
        conditions=merged(previous, conditions, view.cluster.metadata.generation, view.now),
        observed_generation=view.cluster.metadata.generation,
    )


def _backups(
    view: View, outcome: Outcome, memory: Memory, claims: Sequence[Manifest]
) -> PgBackRestStatus | None:
    """Backups, and what was asked for last; a restore is told on when backups are switched off."""
    found = archive.status(view, outcome.book, outcome.stanza_hash, claims)
    before = view.cluster.status.pgbackrest
    restore = memory.requested or (before.restore if before else None)
    if found is None:
        return PgBackRestStatus(restore=restore) if restore else None
    asked = on_demand.status(view, outcome.book)
    return found.model_copy(update={"manual_backup": asked, "restore": restore})


def _set_status(view: View, memory: Memory, name: str, size: int) -> InstanceSetStatus:
    planned = {p.name for p in view.planned}
    ready = sum(
        serves(i, memory) for i in view.observed.instances if i.set_name == name and i.name in planned
    )
    return InstanceSetStatus(name=name, size=size, ready=ready)


def _missing(
    view: View, outcome: Outcome, memory: Memory, postgres: tuple[int, int], pooler: PgBouncerStatus
) -> list[str]:
    """What is not yet as promised, as sentences; empty means ready."""
    missing = []
    if view.observed.primary is None:
        missing.append("no primary accepts writes")
    ready, size = postgres
    if ready < size:
        absent = [
            i.pod_name
            for i in view.observed.instances
            if i.name in {p.name for p in view.planned} and not serves(i, memory)
        ]
        missing.append(
            f"{ready} of {size} instances serve" + (f"; not {', '.join(absent)}" if absent else "")
        )
    extra = [i.pod_name for i in view.observed.instances if i.name not in {p.name for p in view.planned}]
    if extra:
        missing.append(f"to be removed: {', '.join(extra)}")
    if pooler.ready < pooler.size:
        missing.append(f"{pooler.ready} of {pooler.size} pgBouncer pods are ready")
    if view.cluster.spec.backups.enabled and not archive.host_ready(view):
        missing.append("the repository host is not ready")
    if not outcome.access_is_current and view.observed.primary is not None:
        missing.append("users and databases are being set up")
    if outcome.change.rolling:
        missing.append(outcome.change.rolling)
    missing += [problem.message for problem in outcome.problems if problem.message not in missing]
    return missing


def _state(view: View, missing: list[str]) -> str:
    """The one word."""
    if view.paused:
        return "stopping" if pausing.left(view) else "paused"
    return "initializing" if missing else "ready"


def _host(view: View) -> str:
    """Where clients connect; the load balancer's address where the pooler has one."""
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
