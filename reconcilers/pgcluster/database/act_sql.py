"""Act: reconcile roles, databases, grants and the pooler's account inside PostgreSQL with the spec.

One psql session on the primary applies all changes and reports what it saw. It runs when the script changes,
when another pod has become the primary, after an `ALTER SYSTEM`, and about ten minutes after its last run, to
repair drift. Between these runs, a read-only script runs while a replica catches up or a changed
configuration reaches PostgreSQL.
"""

from dataclasses import replace
from datetime import timedelta

import structlog

from pgoperator import labels, naming
from pgoperator.context import Context
from pgoperator.digest import digest
from pgoperator.errors import CommandFailed, InvalidSpec
from pgoperator.kube.backoff import pause
from pgoperator.kube.manifest import annotations_of
from pgoperator.postgres import sql_report
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.database import build_sql, decide_extensions
from reconcilers.pgcluster.state import replication
from reconcilers.pgcluster.state.cache import ClusterCache, Settling, SqlCache
from reconcilers.pgcluster.state.view import View

log = structlog.get_logger(__name__)

# Reasons to run the read-only script.
STREAMS = "progress of a replica"
CONFIGURATION = "changed configuration"
# From a change of the configuration until PostgreSQL has reloaded it: Patroni sees the change at once.
SETTLE = timedelta(seconds=3)
# From a change of the preloaded libraries until Patroni reports that a restart is pending.
RESTARTED = timedelta(seconds=5)
# Longest time between two runs; the jitter spreads the clusters that were checked together.
RESYNC = timedelta(minutes=10)
# After PostgreSQL refused a user, database or grant: the cause may be temporary, such as a template in use.
REFUSED = timedelta(minutes=1)
# A replica that has just started follows within a second or two; Patroni reports it only in its next loop.
LOOK_SECONDS = 0.5
LOOKS_AT_SPEED = 20
SLOW_LOOK_SECONDS = 10
TIMEOUT_SECONDS = 60


async def act(ctx: Context, view: View, cache: ClusterCache) -> Wait | None:
    """Run the script on the primary if a reason exists (`_reason`); the report is kept in `cache.sql`.

    InvalidSpec when PostgreSQL refuses a value of the spec; CommandFailed for any other failure.
    """
    primary = view.observed.primary
    if primary is None or primary.pod is None:
        return None
    text = script = build_sql.reconcile_script(view)
    reason = _reason(view, cache, digest(script), primary.pod["metadata"]["uid"])
    if reason is None:
        return None
    if reason in (STREAMS, CONFIGURATION):
        text = build_sql.report_script(view)
    try:
        output = await ctx.client.exec(
            view.namespace,
            primary.pod_name,
            naming.DATABASE_CONTAINER,
            build_sql.PSQL,
            stdin=text.encode(),
            timeout=TIMEOUT_SECONDS,
        )
    except CommandFailed as error:
        raise _as_spec_error(error) from error
    facts = sql_report.parse_report(output)
    if facts.in_recovery:
        return Wait(f"waiting for the promotion of PostgreSQL in {primary.pod_name}", 1)
    if not facts.complete:
        raise InvalidSpec(
            f"the server runs PostgreSQL {facts.server_version_num // 10000}, "
            f"but spec.postgresVersion is {view.cluster.spec.postgres_version}",
            reason="WrongPostgresVersion",
        )
    replication.learn(view, cache, facts)
    _remember(view, cache.sql, facts, reason)
    cache.sql.digest, cache.sql.primary = digest(script), primary.pod["metadata"]["uid"]
    log.info("checked users and databases", reason=reason)
    _report_reset(ctx, view, facts)
    return None


def _report_reset(ctx: Context, view: View, facts: sql_report.ServerReport) -> None:
    """An Event for values that `ALTER SYSTEM` had set and the script has taken back."""
    if not facts.reset:
        return
    text = ", ".join(f"{name} was {value}" for name, value in sorted(facts.reset.items()))
    more = ""
    if view.backups_enabled and any(name.startswith("archive_") for name in facts.reset):
        more = "; WAL of that time may be missing in the repositories: then a backup follows"
    message = f"parameters that the operator decides were set by ALTER SYSTEM, and are reset: {text}{more}"
    log.warning("reset parameters", cluster=view.name, parameters=dict(facts.reset))
    ctx.events.forget(view.manifest, "ParametersReset")
    ctx.events.event(
        view.manifest, type="Warning", reason="ParametersReset", message=message[:1000], began=True
    )


def _altered(view: View) -> str:
    primary = view.observed.primary
    pod = primary.pod if primary is not None else None
    return annotations_of(pod).get(labels.ALTERED, "") if pod is not None else ""


def _remember(view: View, cache: SqlCache, facts: sql_report.ServerReport, reason: str) -> None:
    """Keep the report. The read-only script does not visit each database: those parts stay as they were."""
    if reason in (STREAMS, CONFIGURATION) and cache.facts is not None:
        previous = cache.facts
        facts = replace(
            facts,
            databases=previous.databases,
            database_errors=previous.database_errors,
            refused_extensions=previous.refused_extensions,
            refused=previous.refused,
        )
    else:
        cache.at = view.now
        cache.altered = _altered(view)
        seconds = (REFUSED if facts.refused or facts.database_errors else RESYNC).total_seconds()
        cache.due = view.now + timedelta(seconds=pause(1, first=seconds, cap=seconds))
    cache.facts = facts
    if reason != STREAMS:
        cache.configuration = view.observed.configuration_digest


def _has_settled(view: View, cache: SqlCache) -> bool:
    """Whether PostgreSQL has had the time to reload a changed configuration.

    The deadline belongs to one change: a configuration that returns is a new change with a new deadline.
    """
    current = view.observed.configuration_digest
    if cache.settling is None or cache.settling.digest != current:
        cache.settling = Settling(current, view.now + SETTLE)
    return view.now >= cache.settling.until


def _reason(view: View, cache: ClusterCache, script_digest: str, primary: str) -> str | None:
    """Why a script must run now; None without a reason. `primary` is the UID of the primary's pod."""
    own = cache.sql
    if own.digest != script_digest:
        return "users or databases changed"
    if own.primary != primary:
        return "another primary"
    due = own.due
    if own.at is not None and _was_restarted(view, own):
        due = own.at + RESTARTED
    if due is None or view.now >= due or own.altered != _altered(view):
        return "resync"
    if own.configuration == view.observed.configuration_digest:
        own.settling = None
    elif _has_settled(view, own):
        return CONFIGURATION
    if replication.not_following(view, cache):
        own.looks += 1
        return STREAMS
    own.looks = 0
    return None


def _was_restarted(view: View, cache: SqlCache) -> bool:
    """Whether an extension lacks its library although Patroni reports no pending restart."""
    primary, facts = view.observed.primary, cache.facts
    if primary is None or facts is None or primary.member.pending_restart:
        return False
    return bool(decide_extensions.waiting(view, facts))


def next_look(view: View, cache: ClusterCache) -> Wait | None:
    """When the next run is due: for replicas that do not follow yet, a changed configuration, or drift."""
    own = cache.sql
    if own.facts is not None and own.configuration != view.observed.configuration_digest:
        return Wait("waiting for PostgreSQL to reload a changed configuration", SETTLE.total_seconds())
    if own.facts is not None and decide_extensions.has_news(view, own.facts):
        return Wait("applying the list of libraries that the image reported", LOOK_SECONDS)
    pods = [i.pod_name for i in replication.not_following(view, cache)]
    if not pods and _was_restarted(view, own):
        return Wait("waiting for Patroni to report changed preloaded libraries", RESTARTED.total_seconds())
    if not pods:
        # An overdue run that was not possible happens at the next event or resync.
        left = (own.due - view.now).total_seconds() if own.due is not None else 0
        return Wait("next drift check of users and databases", left) if left > 0 else None
    seconds = LOOK_SECONDS if own.looks < LOOKS_AT_SPEED else SLOW_LOOK_SECONDS
    return Wait(f"waiting for {', '.join(pods)} to catch up", seconds)


def is_current(view: View, cache: SqlCache) -> bool:
    """Whether the last script to run was the current script, on the current primary."""
    primary = view.observed.primary
    if primary is None or primary.pod is None:
        return False
    try:
        current = digest(build_sql.reconcile_script(view))
    except InvalidSpec:
        # `act` reports it as a problem.
        return False
    return cache.digest == current and cache.primary == primary.pod["metadata"]["uid"]


def _as_spec_error(error: CommandFailed) -> Exception:
    """InvalidSpec for SQL that PostgreSQL refused, which only another spec can fix; else the error itself."""
    if "FATAL" in error.stderr or "could not connect" in error.stderr:
        return error
    lines = [line for line in error.stderr.splitlines() if "ERROR" in line]
    return InvalidSpec("; ".join(lines), reason="AccessRefused") if lines else error
