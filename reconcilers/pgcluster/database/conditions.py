"""The problems that the last run of the SQL reported, and the conditions of the server. Pure."""

from pgoperator.errors import InvalidSpec
from pgoperator.postgres import minor_versions
from pgoperator.postgres.sql_report import ServerReport, Slot
from reconcilers.pgcluster.database import build_sql
from reconcilers.pgcluster.patroni import build_dynamic_config
from reconcilers.pgcluster.state.cache import SqlCache
from reconcilers.pgcluster.state.findings import Finding, Problem
from reconcilers.pgcluster.state.view import View


def problems(view: View, cache: SqlCache) -> list[Problem]:
    """Users, parameters, rules of pg_hba.conf and databases of the spec that PostgreSQL refuses."""
    facts, invalid = cache.facts, _invalid_users(view)
    if facts is None:
        return invalid
    result = invalid + [Problem("AccessRefused", f"{what}: {error}") for what, error in facts.refused.items()]
    result += [
        Problem("ParameterRefused", f"PostgreSQL refuses the parameter {name}: {error}")
        for name, error in facts.file_errors.items()
    ]
    if _is_in_force(view, cache):
        # Patroni drops parameters that it considers invalid, and reports them only in its log.
        unknown = build_dynamic_config.requested(view) - facts.set_parameters - facts.file_errors.keys()
        result += [
            Problem(
                "ParameterRefused", f"the parameter {name} is unknown to PostgreSQL, or its value is invalid"
            )
            for name in sorted(unknown)
        ]
    result += [Problem("AuthenticationRefused", f"pg_hba.conf, {error}") for error in facts.hba_errors]
    result += [
        Problem("DatabaseFailed", f"database {name!r}: {error}")
        for name, error in facts.database_errors.items()
    ]
    return result


def _invalid_users(view: View) -> list[Problem]:
    """Users that the SQL leaves out; without a primary no SQL runs."""
    if view.observed.primary is None:
        return []
    try:
        return build_sql.roles(view)[1]
    except InvalidSpec:
        # `act_sql` reports it as a problem.
        return []


def _is_in_force(view: View, cache: SqlCache) -> bool:
    """Whether the last report is about the configuration that the spec asks for now."""
    if cache.configuration != view.observed.configuration_digest:
        return False
    try:
        return view.observed.dynamic_configuration == build_dynamic_config.dynamic_configuration(view)
    except InvalidSpec:
        # `patroni.act_dynamic_config` reports it as a problem.
        return False


def parameters(view: View, report: ServerReport | None) -> list[Finding]:
    """The condition `ParametersOverridden`: values of the spec that another file of the server replaces."""
    if report is None:
        return []
    configuration = view.observed.dynamic_configuration or {}
    section = configuration.get("postgresql")
    ours = section.get("parameters") if isinstance(section, dict) else None
    names = ours.keys() if isinstance(ours, dict) else ()
    found = [f"{name} is {value}" for name, value in sorted(report.elsewhere.items()) if name in names]
    if not found:
        return []
    text = "remove them there, or use ALTER SYSTEM RESET, to let the values of the spec take effect"
    return [Finding("ParametersOverridden", True, "SetElsewhere", f"{', '.join(found)}: {text}")]


def extensions(verdict: Problem | None) -> Finding:
    """The condition `ExtensionsReady`; `verdict` holds the differences from the spec, None without any."""
    reported = verdict or Problem("AllInstalled", "all extensions match spec.extensions")
    return Finding("ExtensionsReady", verdict is None, reported.reason, reported.message)


def slots(report: ServerReport | None) -> list[Finding]:
    """The condition `ReplicationSlotsFailing`; empty while no slot needs attention."""
    reported = report.slots if report is not None else ()
    if not reported:
        return []
    texts = [_lost(slot) if slot.lost else _held(slot) for slot in reported]
    reason = "WALRemoved" if any(slot.lost for slot in reported) else "WALHeldBack"
    return [Finding("ReplicationSlotsFailing", True, reason, "; ".join(texts))]


def version(report: ServerReport | None) -> list[Finding]:
    """The condition `PostgreSQLOutdated`; empty while no security hole of the server is known."""
    found = minor_versions.holes(report.server_version_num) if report is not None else None
    return [Finding("PostgreSQLOutdated", True, *found)] if found else []


def _lost(slot: Slot) -> str:
    return (
        f"replication slot {slot.name!r} is lost: its WAL was removed because of max_slot_wal_keep_size; "
        "drop the slot and copy the data to its consumer again"
    )


def _held(slot: Slot) -> str:
    consumer = "its consumer is too slow" if slot.active else "it has no consumer"
    step = "speed up the consumer" if slot.active else "start the consumer, or drop the slot"
    return (
        f"replication slot {slot.name!r} holds back {slot.held >> 30} GiB of WAL on the primary, because "
        f"{consumer}; {step}, before the volume is full"
    )
