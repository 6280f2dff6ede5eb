"""Settings of the server: defaults < the user's < those the operator cannot give away (`objects.md` §2.3)."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pgoperator.errors import InvalidSpec
from pgoperator.postgres.extensions import split

Value = str | int | float | bool

SOCKET_DIRECTORY = "/tmp/postgres"  # noqa: S108 - an emptyDir of the pod, and part of the drop-in contract

DEFAULTS: Mapping[str, Value] = {
    "archive_timeout": "60s",
    "jit": "off",
    # PostgreSQL's own and the image's. Patroni leaves it out where the server is too old to have such a list.
    "output_plugin_libraries": "pgoutput, test_decoding, wal2json",
    "password_encryption": "scram-sha-256",
    "wal_level": "logical",
}

MANDATORY: Mapping[str, Value] = {
    "archive_mode": "on",
    "ssl": "on",
    "ssl_ca_file": "/pgconf/tls/ca.crt",
    "ssl_cert_file": "/pgconf/tls/tls.crt",
    "ssl_key_file": "/pgconf/tls/tls.key",
    "unix_socket_directories": SOCKET_DIRECTORY,
}

_OF_LIBRARY: Mapping[str, Mapping[str, Value]] = {
    "pg_cron": {"cron.database_name": "postgres"},
    "pg_stat_monitor": {
        "pg_stat_monitor.pgsm_enable_overflow": "off",
        "pg_stat_monitor.pgsm_query_max_len": "2048",
    },
    "pg_stat_statements": {"pg_stat_statements.track": "all"},
}
"""Library that is preloaded -> settings that go with it."""

_BANNED = frozenset(
    {
        # Where things are: Patroni and the volumes decide.
        *("config_file", "data_directory", "external_pid_file", "hba_file", "ident_file"),
        *("listen_addresses", "port", "cluster_name", "ssl_crl_dir", "ssl_crl_file"),
        # Directives rather than settings: PostgreSQL would read another file in their place.
        *("include", "include_dir", "include_if_exists"),
        # Replication and recovery: Patroni's own.
        *("hot_standby", "primary_conninfo", "primary_slot_name", "wal_log_hints"),
    }
)
_BANNED_PREFIXES = ("recovery_target", "unix_socket_")
_WAL_LEVELS = ("logical", "replica")
_NAME = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_$]*)*", re.IGNORECASE)


def effective(
    user: Mapping[str, Any],
    config_parameters: Mapping[str, Any],
    *,
    archive_command: str,
    restore_command: str,
    shared_preload: Sequence[str] = (),
    missing: Collection[str] = (),
    huge_pages: bool = False,
    track_commit_timestamp: bool = False,
) -> dict[str, Value]:
    """All parameters for Patroni's `postgresql.parameters`, names in lower case and sorted.

    `user` is `dynamicConfiguration.postgresql.parameters`, `config_parameters` is `spec.config.parameters`.
    A null value means "not set", as it does for Patroni. The user's `restore_command` wins over ours.
    `archive_command` must end with the status of the push itself: PostgreSQL recycles a segment as soon as
    the command says 0. `missing` are libraries that the image lacks: PostgreSQL would not start with them.
    `InvalidSpec` names the parameter whose name or value cannot be.
    """
    wanted = {**_checked(user), **_checked(config_parameters)}
    is_listed = "shared_preload_libraries" in wanted
    libraries = _libraries(preloaded(user, config_parameters), shared_preload, missing)
    wanted.pop("shared_preload_libraries", None)
    if (level := str(wanted.get("wal_level", "logical"))).lower() not in _WAL_LEVELS:
        raise InvalidSpec(f"wal_level is {level!r}; it can only be logical or replica")
    merged: dict[str, Value] = {
        **DEFAULTS,
        "huge_pages": "try" if huge_pages else "off",
        "restore_command": restore_command,
        **{name: value for name, value in wanted.items() if not _is_banned(name)},
        **MANDATORY,
        "archive_command": archive_command,
    }
    for library in shared_preload:
        if library not in missing:
            merged |= _OF_LIBRARY.get(library, {})
    if track_commit_timestamp:
        merged["track_commit_timestamp"] = "on"
    if libraries or is_listed:
        merged["shared_preload_libraries"] = libraries
    return dict(sorted(merged.items()))


def preloaded(user: Mapping[str, Any], config_parameters: Mapping[str, Any]) -> list[str]:
    """The libraries that the user preloads."""
    wanted = {**_checked(user), **_checked(config_parameters)}
    return split(str(wanted.get("shared_preload_libraries", "")))


def rejected(user: Mapping[str, Any]) -> list[str]:
    """Names the user has set to no effect, sorted: for a condition, since nothing is ignored in silence."""
    wanted = _checked(user)
    return sorted(
        name
        for name, value in wanted.items()
        if name == "archive_command" or (_is_banned(name) and not _is_same(value, MANDATORY.get(name)))
    )


def check_name(name: str) -> str:
    """Return a parameter's name in lower case, or raise `InvalidSpec`: PostgreSQL's own grammar of names."""
    if _NAME.fullmatch(name) is None:
        raise InvalidSpec(f"{name!r} cannot be the name of a PostgreSQL parameter")
    return name.lower()


def _checked(parameters: Mapping[str, Any]) -> dict[str, Value]:
    checked: dict[str, Value] = {}
    for given, value in parameters.items():
        name = check_name(str(given))
        if value is None:
            continue
        if not isinstance(value, str | int | float):
            raise InvalidSpec(
                f"the value of PostgreSQL parameter {name} must be a text, a number or a boolean"
            )
        if isinstance(value, str) and any(character in value for character in "\n\r\0"):
            raise InvalidSpec(f"the value of PostgreSQL parameter {name} has a line break or NUL")
        checked[name] = value
    return checked


def _is_banned(name: str) -> bool:
    return name in _BANNED or name in MANDATORY or name.startswith(_BANNED_PREFIXES)


def _is_same(value: Value, ours: Value | None) -> bool:
    """Compare as PostgreSQL would read them, as far as our own values go: on and off, and texts."""
    if ours == "on":
        return str(value).lower() in {"on", "true", "yes", "1"}
    return value == ours


def _libraries(users: Sequence[str], ours: Sequence[str], missing: Collection[str]) -> str:
    """Join the lists: the user's first, each once; Citus insists on being first of all."""
    names = dict.fromkeys(name for name in (*users, *ours) if name not in missing)
    return ",".join(sorted(names, key=lambda name: name != "citus"))
