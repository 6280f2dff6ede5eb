"""Patroni's dynamic configuration: PostgreSQL's parameters and pg_hba.conf. Pure.

The effective copy is in the Endpoints `<cluster>-ha-config`, which `act_dynamic_config` updates. The
cluster's file contains it for the bootstrap only.
"""

from typing import Any

from pgoperator import naming
from pgoperator.api.instances import InstanceSet
from pgoperator.errors import InvalidSpec
from pgoperator.kube.compare import quantity
from pgoperator.postgres import hba, parameters, pgbackrest
from pgoperator.postgres.extensions import libraries
from reconcilers.pgcluster.database import decide_extensions
from reconcilers.pgcluster.patroni import decide_lease
from reconcilers.pgcluster.state import repositories
from reconcilers.pgcluster.state.view import View

# pgBackRest's archive-get with a timeout: a lost repository must not block replicas or a promotion.
RESTORE_COMMAND = f'bash {naming.SCRIPTS_PATH}/archive-get.sh %f "%p"'

DEFAULT_MAX_CONNECTIONS = 100
"""Patroni's default of `max_connections`."""

# When PostgreSQL has restarted, Patroni drops each slot that it did not create, and a consumer then misses
# changes. Physical slots stay Patroni's: a slot of a member that is gone would hold WAL forever.
_LOGICAL_SLOTS = {"type": "logical"}


def dynamic_configuration(view: View) -> dict[str, Any]:
    """The desired dynamic configuration: the user's, overridden by the operator's settings.

    Raises InvalidSpec (reason InvalidDynamicConfiguration) when a section has the wrong type.
    """
    spec, patroni = view.cluster.spec, view.cluster.spec.patroni
    user: dict[str, Any] = dict(patroni.dynamic_configuration or {})
    postgresql = section(user, "postgresql", "postgresql")
    # The loss of a node or of the API server must not stop a database whose members still reach each other.
    config: dict[str, Any] = {"failsafe_mode": True} | user
    if view.observed.is_patroni_paused:
        # A person's decision (`patronictl pause`): it stays until `patronictl resume`.
        config.setdefault("pause", True)
    lease = decide_lease.fitted(patroni)
    config |= {"ttl": lease.ttl, "loop_wait": lease.loop_wait}
    if "retry_timeout" in user or lease.retry_timeout != decide_lease.DEFAULT_RETRY:
        config["retry_timeout"] = lease.retry_timeout
    config["ignore_slots"] = _ignored_slots(user)
    postgresql["use_pg_rewind"] = True
    # PostgreSQL synchronizes failover slots only if each replica streams through a slot of its own.
    postgresql.setdefault("use_slots", synchronizes_slots(view))
    postgresql["parameters"] = parameters.effective(
        section(postgresql, "parameters", "postgresql.parameters"),
        spec.config.parameters,
        archive_command=_archive_command(view),
        restore_command=RESTORE_COMMAND if view.backups_enabled else "",
        shared_preload=libraries(decide_extensions.enabled(view)),
        missing=view.missing_libraries or (),
        huge_pages=_uses_huge_pages(view),
        track_commit_timestamp=view.backups_enabled and spec.backups.track_latest_restorable_time,
    )
    _check_memory(view, postgresql["parameters"])
    if view.missing_libraries is None and view.observed.dynamic_configuration is not None:
        _keep_libraries(postgresql["parameters"], view.observed.dynamic_configuration)
    own_hba = postgresql.get("pg_hba") or []
    if not (isinstance(own_hba, list) and all(isinstance(line, str) for line in own_hba)):
        raise wrong_type("postgresql.pg_hba", "a list of lines")
    postgresql["pg_hba"] = hba.lines(spec.authentication.rules, own_hba, spec.tls_only)
    return config | {"postgresql": postgresql}


def synchronizes_slots(view: View) -> bool:
    """Whether the user asks PostgreSQL to keep failover slots on replicas, and the version can."""
    spec = view.cluster.spec
    postgresql = section(spec.patroni.dynamic_configuration, "postgresql", "postgresql")
    user = section(postgresql, "parameters", "postgresql.parameters")
    return spec.postgres_version >= parameters.SYNC_SLOTS_SINCE and parameters.is_on(
        user, spec.config.parameters, parameters.SYNC_SLOTS
    )


def _ignored_slots(user: dict[str, Any]) -> list[Any]:
    """The user's list of slots that Patroni leaves alone, and all logical slots."""
    own = user.get("ignore_slots") or []
    if not (isinstance(own, list) and all(isinstance(matcher, dict) for matcher in own)):
        raise wrong_type("ignore_slots", "a list of mappings")
    return [*(matcher for matcher in own if matcher != _LOGICAL_SLOTS), _LOGICAL_SLOTS]


def _check_memory(view: View, effective: dict[str, Any]) -> None:
    """InvalidSpec if PostgreSQL cannot start with `shared_buffers`, before any instance restarts with it."""
    value = effective.get("shared_buffers")
    size = parameters.memory_bytes(value) if value is not None else None
    if size is None or _uses_huge_pages(view):
        return
    for one in view.cluster.spec.instance_sets():
        limit = _limits(one).get("memory")
        known = quantity(limit)
        if known is not None and size >= known:
            raise InvalidSpec(
                f"shared_buffers is {value}, but the memory limit of instance set {one.name} is {limit}: "
                "PostgreSQL could not start; lower shared_buffers or raise the limit. Until then, no "
                "parameter changes",
                reason="ParameterImpossible",
            )


def _keep_libraries(ours: dict[str, Any], current: dict[str, Any]) -> None:
    """Keep the preloaded libraries until the server has reported which libraries its image has."""
    name = "shared_preload_libraries"
    ours.pop(name, None)
    postgresql = current.get("postgresql")
    present = postgresql.get("parameters") if isinstance(postgresql, dict) else None
    if isinstance(present, dict) and name in present:
        ours[name] = present[name]


def section(parent: dict[str, Any], name: str, path: str) -> dict[str, Any]:
    """A copy of a section of the user's free-form configuration; InvalidSpec when it is not a mapping."""
    value = parent.get(name) or {}
    if not isinstance(value, dict):
        raise wrong_type(path, "a mapping of names to values")
    return dict(value)


def wrong_type(path: str, expected: str) -> InvalidSpec:
    """The error for a part of the user's free-form configuration."""
    return InvalidSpec(
        f"spec.patroni.dynamicConfiguration.{path}: must be {expected}", reason="InvalidDynamicConfiguration"
    )


def max_connections(view: View) -> int:
    """PostgreSQL's `max_connections`, as Patroni has it, or as a new cluster will."""
    configuration = view.observed.dynamic_configuration
    if configuration is None:
        try:
            configuration = dynamic_configuration(view)
        except InvalidSpec:
            # `act_dynamic_config` reports it as a problem.
            configuration = {}
    postgresql = configuration.get("postgresql")
    values = postgresql.get("parameters") if isinstance(postgresql, dict) else None
    value = str(values.get("max_connections", "")) if isinstance(values, dict) else ""
    return int(value) if value.isdecimal() and value.isascii() else DEFAULT_MAX_CONNECTIONS


def requested(view: View) -> frozenset[str]:
    """Names of the PostgreSQL parameters that the user sets, without those that the operator rejects."""
    dynamic = view.cluster.spec.patroni.dynamic_configuration
    postgresql = dynamic.get("postgresql")
    values = postgresql.get("parameters") if isinstance(postgresql, dict) else None
    names = {**(values if isinstance(values, dict) else {}), **view.cluster.spec.config.parameters}
    set_names = {name.lower() for name, value in names.items() if value is not None}
    return frozenset(set_names - set(parameters.rejected(names)))


def overridden(view: View) -> list[str]:
    """Paths of fields in the custom resource that have no effect, because the operator sets these values."""
    dynamic = view.cluster.spec.patroni.dynamic_configuration
    postgresql = dynamic.get("postgresql") if isinstance(dynamic.get("postgresql"), dict) else {}
    values = postgresql.get("parameters") if isinstance(postgresql, dict) else {}
    names = parameters.rejected(values) if isinstance(values, dict) else []
    path = "spec.patroni.dynamicConfiguration.postgresql.parameters"
    options = pgbackrest.forbidden(view.cluster.spec.backups.pgbackrest.global_options)
    own = parameters.rejected(view.cluster.spec.config.parameters)
    return [
        *decide_lease.overridden(view.cluster.spec.patroni),
        *(f"{path}.{name}" for name in names),
        *(f"spec.config.parameters.{name}" for name in own),
        *(f"spec.backups.pgbackrest.global.{option}" for option in options),
    ]


def _archive_command(view: View) -> str:
    backups = view.cluster.spec.backups
    if not view.backups_enabled:
        return "true"
    track = backups.track_latest_restorable_time
    return pgbackrest.archive_command(
        repositories.known(view) or pgbackrest.UNCONFIRMED,
        f"{naming.SCRIPTS_PATH}/pgbackrest-push.sh" if track else "",
    )


def _uses_huge_pages(view: View) -> bool:
    return any(
        name.startswith("hugepages-")
        for instance_set in view.cluster.spec.instances
        for name in _limits(instance_set)
    )


def _limits(instance_set: InstanceSet) -> dict[str, Any]:
    return dict((instance_set.resources or {}).get("limits") or {})
