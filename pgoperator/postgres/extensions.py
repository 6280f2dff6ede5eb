"""The extensions a user switches on in `spec.extensions`: what each is called, and what must be preloaded."""

from collections.abc import Collection, Mapping
from typing import NamedTuple


class Extension(NamedTuple):
    """Names of one extension.

    `name`: in CREATE EXTENSION. `library`: in shared_preload_libraries, empty when it needs none.
    """

    name: str
    library: str = ""


BUILT_IN: Mapping[str, Extension] = {
    # The order is that of shared_preload_libraries (`objects.md` §2.3).
    "pg_stat_statements": Extension("pg_stat_statements", "pg_stat_statements"),
    "pg_stat_monitor": Extension("pg_stat_monitor", "pg_stat_monitor"),
    "pg_audit": Extension("pgaudit", "pgaudit"),
    "pg_cron": Extension("pg_cron", "pg_cron"),
    "set_user": Extension("set_user", "set_user"),
    "pg_tde": Extension("pg_tde", "pg_tde"),
    "pgvector": Extension("vector"),
    "pg_repack": Extension("pg_repack"),
}
"""Switch in the custom resource -> names in PostgreSQL."""

EXCLUSIVE = ("pg_stat_monitor", "pg_stat_statements")
"""Switches of extensions that hook into the same places and must not be on together."""

ONLY_IN_POSTGRES = ("pg_cron",)
"""Extensions that live in the one database their background worker is told of (`cron.database_name`)."""


def libraries(enabled: Collection[str]) -> list[str]:
    """Libraries to preload for these switches, in the order of `BUILT_IN`."""
    return [e.library for name, e in BUILT_IN.items() if name in enabled and e.library]


def split(listed: str) -> list[str]:
    """The names in a value of shared_preload_libraries."""
    return [name for part in listed.split(",") if (name := part.strip())]
