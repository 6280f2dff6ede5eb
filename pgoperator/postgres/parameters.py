"""PostgreSQL parameters, in rising precedence: defaults, user settings, settings fixed by the operator.

Percona's operator uses the same precedence.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pgoperator.errors import InvalidSpec
from pgoperator.postgres.extensions import split

Value = str | int | float | bool

SOCKET_DIRECTORY = "/tmp/postgres"  # noqa: S108 - an emptyDir of the pod, at the path of Percona's operator

DEFAULTS: Mapping[str, Value] = {
    "archive_timeout": "60s",
    "jit": "off",
    # User, database, application and client of each line, in a form that pgBadger reads.
    "log_line_prefix": "%m [%p]: %quser=%u,db=%d,app=%a,client=%h ",
    # Plugins of PostgreSQL and of the image. Patroni omits the parameter on servers that do not have it.
    "output_plugin_libraries": "pgoutput, test_decoding, wal2json",
    "password_encryption": "scram-sha-256",
    "wal_level": "logical",
}

MANDATORY: Mapping[str, Value] = {
    "archive_mode": "on",
    "ssl": "on",
    "ssl_ca_file": "/pgconf/tls/replication/ca.crt",
    "ssl_cert_file": "/pgconf/tls/tls.crt",
    "ssl_key_file": "/pgconf/tls/tls.key",
    "unix_socket_directories": SOCKET_DIRECTORY,
}

SYNC_SLOTS, SYNC_SLOTS_SINCE = "sync_replication_slots", 17
"""The parameter, and the first major version that has it."""
_WITH_SYNC_SLOTS: Mapping[str, Value] = {"hot_standby_feedback": "on"}
"""Defaults without which PostgreSQL does not synchronize slots."""

_OF_LIBRARY: Mapping[str, Mapping[str, Value]] = {
    "pg_cron": {"cron.database_name": "postgres"},
    "pg_stat_monitor": {
        "pg_stat_monitor.pgsm_enable_overflow": "off",
        "pg_stat_monitor.pgsm_query_max_len": "2048",
    },
    "pg_stat_statements": {"pg_stat_statements.track": "all"},
}
"""Preloaded library -> its settings."""

# Not parameters.
_DIRECTIVES = frozenset({"include", "include_dir", "include_if_exists"})
_TARGETS = ("", "_action", "_inclusive", "_lsn", "_name", "_time", "_timeline", "_xid")
_BANNED = frozenset(
    {
        # Paths and addresses: set by Patroni and by the layout of the volumes.
        *("config_file", "data_directory", "external_pid_file", "hba_file", "ident_file"),
        *("listen_addresses", "port", "cluster_name", "ssl_crl_dir", "ssl_crl_file"),
        # PostgreSQL would read another file.
        *_DIRECTIVES,
        # It would replace archive_command, or keep the archiver from working.
        "archive_library",
        # Replication and recovery: managed by Patroni.
        *("hot_standby", "primary_conninfo", "primary_slot_name", "wal_log_hints"),
    }
)
_BANNED_PREFIXES = ("recovery_target", "unix_socket_")
_WAL_LEVELS = ("logical", "replica")
_MEMORY = re.compile(r"(\d+(?:\.\d+)?) *(B|kB|MB|GB|TB)?")
_MEMORY_UNITS = {"B": 1, "kB": 1 << 10, "8kB": 8 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
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
    A null value means "not set", as in Patroni. A user's `restore_command` overrides the given one.
    `archive_command` must exit with the status of the push itself, because PostgreSQL recycles a segment as
    soon as the command returns 0. `missing`: libraries that the image lacks and without which PostgreSQL
    would not start. `InvalidSpec` names the parameter with an invalid name or value.
    """
    wanted = {**_checked(user), **_checked(config_parameters)}
    is_listed = "shared_preload_libraries" in wanted
    libraries = _libraries(preloaded(user, config_parameters), shared_preload, missing)
    wanted.pop("shared_preload_libraries", None)
    if (level := str(wanted.get("wal_level", "logical"))).lower() not in _WAL_LEVELS:
        raise InvalidSpec(f"wal_level is {level!r}, but must be logical or replica")
    merged: dict[str, Value] = {
        **DEFAULTS,
        **(_WITH_SYNC_SLOTS if _is_true(wanted.get(SYNC_SLOTS)) else {}),
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


def is_on(user: Mapping[str, Any], config_parameters: Mapping[str, Any], name: str) -> bool:
    """Whether the user turns a boolean parameter on."""
    return _is_true({**_checked(user), **_checked(config_parameters)}.get(name))


def preloaded(user: Mapping[str, Any], config_parameters: Mapping[str, Any]) -> list[str]:
    """Libraries that the user preloads."""
    wanted = {**_checked(user), **_checked(config_parameters)}
    return split(str(wanted.get("shared_preload_libraries", "")))


def memory_bytes(value: Value) -> int | None:
    """Size of a memory parameter in bytes, a bare number in blocks of 8 kB; None for an invalid value."""
    match = _MEMORY.fullmatch(str(value).strip())
    return int(float(match[1]) * _MEMORY_UNITS[match[2] or "8kB"]) if match else None


def rejected(user: Mapping[str, Any]) -> list[str]:
    """Sorted names of user parameters that have no effect, for the condition that reports them."""
    wanted = _checked(user)
    return sorted(
        name
        for name, value in wanted.items()
        if name == "archive_command" or (_is_banned(name) and not _is_same(value, MANDATORY.get(name)))
    )


def owned() -> list[str]:
    """Parameters whose value is the operator's or Patroni's alone: `ALTER SYSTEM` must not replace them."""
    more = {"archive_command", "restore_command", "synchronous_standby_names"}
    more |= {f"recovery_target{suffix}" for suffix in _TARGETS}
    return sorted((_BANNED | MANDATORY.keys() | more) - _DIRECTIVES)


def file_lines(values: Mapping[str, Any]) -> str:
    """Lines of postgresql.conf, in the order of `values`, quoted as Patroni quotes them."""
    quoted = {name: re.sub(r"(['\\])", r"\1\1", str(value)) for name, value in values.items()}
    return "".join(f"{name} = '{value}'\n" for name, value in quoted.items())


def check_name(name: str) -> str:
    """Return a parameter's name in lower case; `InvalidSpec` if PostgreSQL does not allow such a name."""
    if _NAME.fullmatch(name) is None:
        raise InvalidSpec(f"{name!r} is not a valid name of a PostgreSQL parameter")
    return name.lower()


def _checked(parameters: Mapping[str, Any]) -> dict[str, Value]:
    checked: dict[str, Value] = {}
    for given, value in parameters.items():
        name = check_name(str(given))
        if value is None:
            continue
        if not isinstance(value, str | int | float):
            raise InvalidSpec(
                f"the value of PostgreSQL parameter {name} must be a string, a number or a boolean"
            )
        if isinstance(value, str) and any(character in value for character in "\n\r\0"):
            raise InvalidSpec(f"the value of PostgreSQL parameter {name} contains a line break or NUL")
        checked[name] = value
    return checked


def _is_banned(name: str) -> bool:
    return name in _BANNED or name in MANDATORY or name.startswith(_BANNED_PREFIXES)


def _is_same(value: Value, ours: Value | None) -> bool:
    """Compare a user's value with a fixed one, which is a string or `on` in any of its spellings."""
    return _is_true(value) if ours == "on" else value == ours


def _is_true(value: Value | None) -> bool:
    return str(value).lower() in {"on", "true", "yes", "1"}


def _libraries(users: Sequence[str], ours: Sequence[str], missing: Collection[str]) -> str:
    """Join the lists without duplicates, the user's libraries first; Citus must be the very first."""
    names = dict.fromkeys(name for name in (*users, *ours) if name not in missing)
    return ",".join(sorted(names, key=lambda name: name != "citus"))
