"""Extensions: enabled and disabled in every database, and missing in the image."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.support.clusters import Cluster, small
from tests.support.kubectl import until

NAME = "ext"
EVERYWHERE = {"pgaudit", "vector", "pg_repack", "set_user"}
DATABASES = ("postgres", "template1", NAME, "second")
ON = {"pgvector", "pg_repack", "pg_cron", "set_user", "pg_stat_monitor"}


@pytest.fixture(scope="module")
def extended(new_cluster: Callable[..., Cluster]) -> Cluster:
    """A cluster with extensions from its first start; the image has all but pg_stat_monitor."""
    switches = {name: {"enabled": True} for name in ON}
    users = [{"name": NAME, "databases": [NAME, "second"]}]
    made = new_cluster(small(NAME, extensions=switches, users=users))
    made.apply()
    made.wait_ready()
    return made


def installed(cluster: Cluster, database: str) -> set[str]:
    return set(cluster.psql("SELECT extname FROM pg_extension", database=database).split()) - {"plpgsql"}


def preloaded(cluster: Cluster) -> list[str]:
    return cluster.psql("SHOW shared_preload_libraries").split(",")


def switch(cluster: Cluster, **switches: Any) -> None:
    cluster.change(lambda spec: spec["extensions"].update(switches))


def says(cluster: Cluster, reason: str, *words: str) -> Callable[[], bool]:
    def condition() -> bool:
        found = cluster.condition("ExtensionsReady")
        return found.get("reason") == reason and all(word in found["message"] for word in words)

    return condition


def test_they_are_in_every_database_and_the_missing_one_is_named(extended: Cluster) -> None:
    for database in DATABASES:
        wanted = EVERYWHERE | ({"pg_cron"} if database == "postgres" else set())
        assert installed(extended, database) == wanted, database
    assert preloaded(extended) == ["pgaudit", "pg_cron", "set_user"]
    until(
        "the missing one is named",
        says(extended, "ExtensionMissing", "pg_stat_monitor", "localhost/pgoperator/postgres"),
        60,
        extended.explain,
    )
    assert all(count == 0 for _, counts in extended.restarts().values() for count in counts.values())
    # The configuration contains only libraries of the image, so that a missing one causes no restart.
    listed = "SELECT setting FROM pg_file_settings WHERE name = 'shared_preload_libraries'"
    until(
        "the configuration does without it",
        lambda: extended.psql(listed) == "pgaudit,pg_cron,set_user",
        60,
        extended.explain,
    )
    assert extended.psql("SELECT count(*) FROM pg_settings WHERE pending_restart") == "0"


def test_a_new_database_has_them(extended: Cluster) -> None:
    extended.psql("CREATE DATABASE third")
    assert installed(extended, "third") == EVERYWHERE


def test_they_work(extended: Cluster) -> None:
    assert extended.psql("SELECT '[1,2]'::vector <-> '[1,4]'::vector", database=NAME) == "2"
    assert extended.psql("SELECT cron.schedule('nightly', '0 3 * * *', 'SELECT 1') > 0") == "t"
    assert extended.psql("SELECT count(*) FROM repack.tables", database=NAME) == "0"
    assert extended.psql("SET jit = on; SELECT pg_jit_available()") == "t"


def test_what_is_done_is_audited(extended: Cluster) -> None:
    extended.psql("SET pgaudit.log = 'ddl'; CREATE TABLE audited ()", database=NAME)

    def log() -> str:
        return extended.kubectl.logs(extended.primary_name(), "--container=database", "--tail=200")

    until("it is in the log", lambda: "AUDIT: SESSION,1,1,DDL,CREATE TABLE" in log(), 60, log)


def test_one_becomes_another_user(extended: Cluster) -> None:
    become = f"SELECT set_user('{NAME}'); SELECT current_user; SELECT reset_user(); SELECT current_user"
    assert extended.psql(become, database=NAME).splitlines() == ["OK", NAME, "OK", "postgres"]


def test_a_change_is_read_by_wal2json(extended: Cluster) -> None:
    extended.psql("SELECT pg_create_logical_replication_slot('changes', 'wal2json')", database=NAME)
    try:
        extended.psql("CREATE TABLE reported AS SELECT 'a change' AS text", database=NAME)
        read = "SELECT data FROM pg_logical_slot_get_changes('changes', NULL, NULL, 'format-version', '2')"
        found = [json.loads(line) for line in extended.psql(read, database=NAME).splitlines()]
        columns = [change["columns"] for change in found if change.get("table") == "reported"]
        assert columns == [[{"name": "text", "type": "text", "value": "a change"}]]
    finally:
        extended.psql("SELECT pg_drop_replication_slot('changes')", database=NAME)


def test_another_one_is_there_after_the_restart_that_it_needs(extended: Cluster) -> None:
    extended.psql("SELECT pg_create_logical_replication_slot('kept', 'pgoutput')", database=NAME)
    switch(extended, pg_stat_monitor={"enabled": False}, pg_stat_statements={"enabled": True})

    def has_it(database: str) -> bool:
        return "pg_stat_statements" in installed(extended, database)

    for database in ("template1", NAME):
        until(
            f"pg_stat_statements is in {database}",
            partial(has_it, database),
            180,
            extended.explain,
        )
    assert int(extended.psql("SELECT count(*) FROM pg_stat_statements", database=NAME)) > 0
    until("all extensions are installed", says(extended, "AllInstalled"), 60, extended.explain)
    extended.psql("SELECT pg_drop_replication_slot('kept')", database=NAME)


def test_one_switched_off_goes_but_not_what_depends_on_it(extended: Cluster) -> None:
    extended.psql("CREATE TABLE items (embedding vector(2))", database="second")
    off = {name: {"enabled": False} for name in ("pgvector", "pg_repack", "pg_cron", "set_user")}
    switch(extended, builtin={"pg_audit": False}, **off)
    gone = [*(d for d in DATABASES if d != "second"), "third"]

    def has_one_left(database: str) -> bool:
        return installed(extended, database) == {"pg_stat_statements"}

    for database in gone:
        until(
            f"only one is left in {database}",
            partial(has_one_left, database),
            90,
            extended.explain,
        )
    until(
        "the condition names what is kept",
        says(extended, "ExtensionRefused", "second", "items"),
        60,
        extended.explain,
    )
    assert installed(extended, "second") == {"pg_stat_statements", "vector"}
    until(
        "the libraries are gone",
        lambda: preloaded(extended) == ["pg_stat_statements"],
        180,
        extended.explain,
    )


def test_two_that_exclude_one_another_change_nothing(extended: Cluster) -> None:
    switch(extended, pg_stat_monitor={"enabled": True})
    until("the conflict is named", says(extended, "ExtensionsConflict"), 60, extended.explain)
    assert extended.psql("SHOW shared_preload_libraries") == "pg_stat_statements"
    assert "pg_stat_statements" in installed(extended, NAME)
    switch(extended, pg_stat_monitor={"enabled": False})
