"""The extensions of `spec.extensions`: their names in PostgreSQL and the libraries to preload."""

from collections.abc import Collection, Mapping
from typing import NamedTuple


class Extension(NamedTuple):
    """Names of one extension.

    `name`: in CREATE EXTENSION. `library`: in shared_preload_libraries, empty when no preload is needed.
    """

    name: str
    library: str = ""


BUILT_IN: Mapping[str, Extension] = {
    # The order is the one in shared_preload_libraries, the same as with Percona's operator.
    "pg_stat_statements": Extension("pg_stat_statements", "pg_stat_statements"),
    "pg_stat_monitor": Extension("pg_stat_monitor", "pg_stat_monitor"),
    "pg_audit": Extension("pgaudit", "pgaudit"),
    "pg_cron": Extension("pg_cron", "pg_cron"),
    "set_user": Extension("set_user", "set_user"),
    "pg_tde": Extension("pg_tde", "pg_tde"),
    "pgvector": Extension("vector"),
    "pg_repack": Extension("pg_repack"),
}
"""Field of `spec.extensions` -> names in PostgreSQL."""

EXCLUSIVE = ("pg_stat_monitor", "pg_stat_statements")
"""Fields of extensions that use the same hooks and cannot be enabled together."""

ONLY_IN_POSTGRES = ("pg_cron",)
"""Extensions that exist only in the database of their background worker (`cron.database_name`)."""


def libraries(enabled: Collection[str]) -> list[str]:
    """Libraries to preload for these fields, in the order of `BUILT_IN`."""
    return [e.library for name, e in BUILT_IN.items() if name in enabled and e.library]


def split(listed: str) -> list[str]:
    """The names in a value of shared_preload_libraries."""
    return [name for part in listed.split(",") if (name := part.strip())]
