"""Act: roles, databases, grants and the pooler's account inside PostgreSQL.

One psql session on the primary does all of it and reports what it saw. It runs when the wanted script
changes, when another pod has become the primary, and ten minutes after its last run at the latest, which
repairs drift; never in between.
"""

import hashlib
import json
from dataclasses import replace
from datetime import timedelta

import structlog

from pgoperator import naming
from pgoperator.context import Context
from pgoperator.errors import CommandFailed, InvalidSpec
from pgoperator.kube.backoff import pause
from pgoperator.postgres import sql
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster import configuration, extensions, followers, users
from reconcilers.pgcluster.memory import Memory
from reconcilers.pgcluster.problems import Problem
from reconcilers.pgcluster.view import View

log = structlog.get_logger(__name__)

# Why PostgreSQL is only looked at, not changed.
STREAMS = "a replica's progress"
CONFIGURATION = "changed configuration"
# Patroni is told of a change at once, and reloads PostgreSQL within a moment.
SETTLE = timedelta(seconds=3)
# Between a change of the preloaded libraries and Patroni's word that they wait for a restart.
RESTARTED = timedelta(seconds=5)
# At the latest; clusters that were looked into together are not the next time.
RESYNC = timedelta(minutes=10)
# A replica that has just started follows within a second or two; Patroni says so at its next round only.
LOOK_SECONDS = 0.5
LOOKS_AT_SPEED = 20
SLOW_LOOK_SECONDS = 10
TIMEOUT_SECONDS = 60

PSQL = (
    "psql",
    "--no-psqlrc",
    "--quiet",
    "--tuples-only",
    "--no-align",
    "--set=ON_ERROR_STOP=1",
    "--file=-",
    "postgres",
)


def script(view: View) -> str:
    """The SQL that brings the database to what the CR says."""
    wanted = users.effective(view.cluster)
    roles = []
    for user in wanted:
        secret = view.secrets[view.user_secrets[user.name]]
        roles.append(
            sql.Role(
                name=user.name,
                verifier=secret["verifier"].decode(),
                options="" if user.name == "postgres" else user.options,
                databases=() if user.name == "postgres" else user.databases,
                superuser=user.name in ("postgres", naming.MONITOR_USER),
                grant_public=user.grant_public_schema_access,
            )
        )
    pooler = None
    if view.cluster.spec.pg_bouncer is not None:
        verifier = view.secrets[naming.pgbouncer(view.name)]["pgbouncer-verifier"].decode()
        pooler = sql.Pooler(verifier, view.cluster.spec.pg_bouncer.expose_superusers)
    return sql.access_script(
        roles,
        users.databases(wanted),
        schemas=view.cluster.spec.auto_create_user_schema,
        pooler=pooler,
        extensions=extensions.wanted(view),
        major=view.cluster.spec.postgres_version,
        libraries=extensions.candidates(view),
        # Only what we have made ourselves: its Secret stays and tells of it.
        gone=[naming.MONITOR_USER] if view.observed.has_monitor and users.MONITOR not in wanted else [],
    )


def digest(text: str) -> str:
    """What tells one script from another, safe to keep and to show."""
    return hashlib.sha256(text.encode()).hexdigest()


async def act(ctx: Context, view: View, memory: Memory) -> Wait | None:
    """Run the script on the primary if there is a reason to."""
    primary = view.observed.primary
    if primary is None or primary.pod is None:
        return None
    text = wanted = script(view)
    reason = _reason(view, memory, digest(wanted), primary.pod["metadata"]["uid"])
    if reason is None:
        return None
    if reason in (STREAMS, CONFIGURATION):
        text = sql.look_script(
            extensions=extensions.wanted(view),
            major=view.cluster.spec.postgres_version,
            libraries=extensions.candidates(view),
        )
    try:
        output = await ctx.client.exec(
            view.namespace,
            primary.pod_name,
            naming.DATABASE_CONTAINER,
            PSQL,
            stdin=text.encode(),
            timeout=TIMEOUT_SECONDS,
        )
    except CommandFailed as error:
        raise _explained(error) from error
    facts = sql.parse_facts(output)
    if facts.in_recovery:
        return Wait("the primary is still being promoted", 1)
    if not facts.complete:
        raise InvalidSpec(
            f"the server is of major version {facts.server_version_num // 10000}, "
            f"spec.postgresVersion says {view.cluster.spec.postgres_version}",
            reason="WrongPostgresVersion",
        )
    followers.learn(view, memory, facts)
    _remember(view, memory, facts, reason)
    memory.digest, memory.primary = digest(wanted), primary.pod["metadata"]["uid"]
    log.info("looked into the database", reason=reason)
    return None


def _remember(view: View, memory: Memory, facts: sql.Facts, reason: str) -> None:
    """Keep what was seen; a mere look says nothing of the single databases."""
    if reason in (STREAMS, CONFIGURATION) and memory.facts is not None:
        known = memory.facts
        facts = replace(
            facts,
            databases=known.databases,
            database_errors=known.database_errors,
            refused_extensions=known.refused_extensions,
        )
    else:
        memory.at = view.now
        seconds = RESYNC.total_seconds()
        memory.due = view.now + timedelta(seconds=pause(1, first=seconds, cap=seconds))
    memory.facts = facts
    if reason != STREAMS:
        memory.configuration = _configuration(view)


def _configuration(view: View) -> str:
    """Digest of the configuration that Patroni follows."""
    return digest(json.dumps(view.observed.dynamic_configuration, sort_keys=True))


def _has_settled(view: View, memory: Memory) -> bool:
    """Whether a changed configuration has had the time to arrive in the server."""
    since = memory.retry_at.setdefault(f"settled {_configuration(view)}", view.now + SETTLE)
    return view.now >= since


def _reason(view: View, memory: Memory, wanted: str, primary: str) -> str | None:
    if memory.digest != wanted:
        return "users or databases changed"
    if memory.primary != primary:
        return "another primary"
    due = memory.due
    if memory.at is not None and _was_restarted(view, memory):
        due = memory.at + RESTARTED
    if due is None or view.now >= due:
        return "resync"
    if memory.configuration != _configuration(view) and _has_settled(view, memory):
        return CONFIGURATION
    if followers.unseen(view, memory):
        memory.looks += 1
        return STREAMS
    memory.looks = 0
    return None


def _was_restarted(view: View, memory: Memory) -> bool:
    """Whether an extension waits for its library, and Patroni does not say that a restart is still due."""
    primary, facts = view.observed.primary, memory.facts
    if primary is None or facts is None or primary.member.pending_restart:
        return False
    return bool(extensions.waiting(view, facts))


def found(view: View, memory: Memory) -> list[Problem]:
    """What the last look into the database found wrong."""
    facts = memory.facts
    if facts is None:
        return []
    problems = [
        Problem("ParameterRefused", f"PostgreSQL refuses the parameter {name}: {why}")
        for name, why in facts.file_errors.items()
    ]
    if _is_in_force(view, memory):
        # Patroni drops what it knows to be wrong, and says so in its log only.
        problems += [
            Problem(
                "ParameterRefused", f"the parameter {name} is unknown to PostgreSQL, or its value is invalid"
            )
            for name in sorted(
                configuration.requested(view) - facts.set_parameters - facts.file_errors.keys()
            )
        ]
    problems += [Problem("AuthenticationRefused", f"pg_hba.conf, {why}") for why in facts.hba_errors]
    problems += [
        Problem("DatabaseFailed", f"database {name!r}: {why}") for name, why in facts.database_errors.items()
    ]
    return problems


def _is_in_force(view: View, memory: Memory) -> bool:
    """Whether PostgreSQL was last seen with the configuration that the custom resource asks for now."""
    if memory.configuration != _configuration(view):
        return False
    try:
        return view.observed.dynamic_configuration == configuration.dynamic_configuration(view)
    except InvalidSpec:
        # Told as a problem by `patroni`.
        return False


def next_look(view: View, memory: Memory) -> Wait | None:
    """When to look again: for replicas that are not known to follow, a changed configuration, or drift."""
    if memory.facts is not None and memory.configuration != _configuration(view):
        return Wait("a changed configuration is on its way to PostgreSQL", SETTLE.total_seconds())
    if memory.facts is not None and extensions.has_news(view, memory.facts):
        return Wait("the libraries of the image have become known", LOOK_SECONDS)
    pods = [i.pod_name for i in followers.unseen(view, memory)]
    if not pods and _was_restarted(view, memory):
        return Wait("a changed list of libraries is on its way to PostgreSQL", RESTARTED.total_seconds())
    if not pods:
        # One that could not be made when it was due comes with the next event, or the resync.
        left = (memory.due - view.now).total_seconds() if memory.due is not None else 0
        return Wait("users and databases are compared again then", left) if left > 0 else None
    seconds = LOOK_SECONDS if memory.looks < LOOKS_AT_SPEED else SLOW_LOOK_SECONDS
    return Wait(f"{', '.join(pods)} not caught up yet", seconds)


def is_current(view: View, memory: Memory) -> bool:
    """Whether the script's last run is the wanted one, on the present primary."""
    primary = view.observed.primary
    if primary is None or primary.pod is None:
        return False
    try:
        wanted = digest(script(view))
    except InvalidSpec:
        # Told as a problem by `act`.
        return False
    return memory.digest == wanted and memory.primary == primary.pod["metadata"]["uid"]


def _explained(error: CommandFailed) -> Exception:
    """A refusal by PostgreSQL that only a change of the CR can mend, or the error as it is."""
    if "FATAL" in error.output or "could not connect" in error.output:
        return error
    lines = [line for line in error.output.splitlines() if "ERROR" in line]
    return InvalidSpec("; ".join(lines), reason="AccessRefused") if lines else error
