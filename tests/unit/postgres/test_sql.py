"""The scripts against a real server: what they bring about, what they leave alone, what they give away."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pgoperator import limits
from pgoperator.errors import InvalidSpec, OperatorError
from pgoperator.postgres import quoting, scram
from pgoperator.postgres.sql import Pooler, Role, reconcile_script, report_script
from pgoperator.postgres.sql_report import ServerReport, Slot, parse_report

from .conftest import Server, _drop_privileges, _start

SALT = b"0123456789abcdef"
MAY_CONNECT = "SELECT has_database_privilege('_crunchypgbouncer', 'postgres', 'CONNECT')"
NEXT_XID = "SELECT pg_snapshot_xmax(pg_current_snapshot())"
NASTY = [
    "Upper",
    "with space",
    'quo"te',
    "apo'strophe",
    "back\\slash",
    "new\nline",
    "a:b:'c'",
    "$$dollar$$",
    "ü-日本",
]
POOLER = Pooler(scram.verifier("pooler", SALT), expose_superusers=False)


def verifier(password: str) -> str:
    return scram.verifier(password, SALT, 1000)


def apply(
    server: Server,
    roles: list[Role],
    databases: list[str] | None = None,
    *,
    schemas: bool = False,
    pooler: Pooler | None = None,
    extensions: dict[str, bool] | None = None,
    major: int | None = None,
    gone: Sequence[str] = (),
) -> ServerReport:
    script = reconcile_script(
        roles,
        databases or [],
        schemas=schemas,
        pooler=pooler,
        extensions=extensions or {},
        major=major or server.major,
        gone=gone,
    )
    done = server.run(script)
    assert done.returncode == 0, done.stderr
    return parse_report(done.stdout)


def password_of(server: Server, role: str) -> str:
    return server.value(f"SELECT rolpassword FROM pg_authid WHERE rolname = {quoting.quote_literal(role)}")


def everything(server: Server) -> ServerReport:
    roles = [
        Role(
            "app", verifier("app"), "CREATEDB CONNECTION LIMIT 5 VALID UNTIL '2099-01-01'", ("app", "other")
        ),
        Role("postgres", verifier("root")),
        Role("guest", verifier("guest"), databases=("app",), grant_public=True),
    ]
    return apply(
        server,
        roles,
        ["app"],
        schemas=True,
        pooler=POOLER,
        extensions={"hstore": True, "pgaudit": True, "nope": True},
    )


def test_everything_wanted_is_there_after_one_run(server: Server) -> None:
    facts = everything(server)

    assert facts.complete
    assert facts.database_errors == {}
    assert facts.missing_extensions == ("nope",)
    assert set(facts.databases) == {"app", "other", "postgres", "template1"}
    assert facts.server_version_num // 10000 == server.major
    assert facts.system_identifier == server.value("SELECT system_identifier FROM pg_control_system()")
    assert password_of(server, "app") == verifier("app")
    assert password_of(server, "postgres") == verifier("root")
    row = "SELECT rolcanlogin, rolcreatedb, rolsuper, rolconnlimit, rolvaliduntil::date FROM pg_roles"
    assert server.query(f"{row} WHERE rolname = 'app'") == [["t", "t", "f", "5", "2099-01-01"]]
    schemas = "SELECT nspname, pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname IN ('app', 'guest')"
    assert server.query(f"{schemas} ORDER BY 1", "app") == [["app", "app"], ["guest", "guest"]]
    assert server.query(f"{schemas} ORDER BY 1", "other") == [["app", "app"]]
    assert server.value("SELECT has_schema_privilege('guest', 'public', 'CREATE')", "app") == "t"
    assert server.value("SELECT has_database_privilege('guest', 'app', 'CREATE')") == "t"
    assert server.value("SELECT has_database_privilege('guest', 'other', 'CREATE')") == "f"
    for database in facts.databases:
        found = server.query(
            "SELECT extname, nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace",
            database,
        )
        assert ["hstore", "public"] in found
        assert ["pgaudit", "public"] in found


def test_a_run_on_a_right_cluster_writes_nothing(server: Server) -> None:
    first = everything(server)
    before = server.value(NEXT_XID)

    # PostgreSQL writes WAL by itself now and then.
    assert replace(everything(server), location=first.location) == first
    assert server.value(NEXT_XID) == before


def test_a_look_writes_nothing_and_tells_of_the_server(server: Server) -> None:
    before = server.value(NEXT_XID)
    done = server.run(report_script(extensions={"nope": True, "hstore": False}, major=server.major))
    facts = parse_report(done.stdout)

    assert (facts.complete, facts.missing_extensions, facts.databases) == (True, ("nope",), ())
    assert server.value(NEXT_XID) == before


def test_drift_is_repaired(server: Server) -> None:
    everything(server)
    server.run(
        "ALTER ROLE app NOLOGIN PASSWORD 'other' CONNECTION LIMIT 7 VALID UNTIL '2030-01-01' NOCREATEDB"
    )
    server.run(
        "REVOKE ALL ON DATABASE app FROM app; DROP DATABASE other; ALTER ROLE _crunchypgbouncer SUPERUSER"
    )
    server.run("DROP SCHEMA app; DROP EXTENSION hstore", database="app")
    server.run("DROP FUNCTION pgbouncer.get_auth")

    test_everything_wanted_is_there_after_one_run(server)
    assert server.value("SELECT rolsuper FROM pg_roles WHERE rolname = '_crunchypgbouncer'") == "f"
    assert server.value("SELECT count(*) FROM pgbouncer.get_auth('app')") == "1"


def test_an_option_that_is_taken_away_stays_in_the_role(server: Server) -> None:
    apply(server, [Role("app", verifier("x"), "CREATEDB")])
    apply(server, [Role("app", verifier("x"), "")])
    assert server.value("SELECT rolcreatedb FROM pg_roles WHERE rolname = 'app'") == "t"


def test_no_verifier_leaves_the_password_alone(server: Server) -> None:
    apply(server, [Role("app", verifier("x"))])
    apply(server, [Role("app", None)])
    assert password_of(server, "app") == verifier("x")


WATCHER = Role("monitor", verifier("x"), watches=True)


def test_a_role_for_monitoring_reads_statistics_and_has_no_other_right(server: Server) -> None:
    """Also one that a former operator has made a superuser."""
    server.run("CREATE ROLE monitor LOGIN SUPERUSER CREATEDB; ALTER ROLE monitor SET search_path = mine")
    apply(server, [WATCHER], ["app"], schemas=True, pooler=POOLER)
    rights = "rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls"
    assert server.query(f"SELECT {rights} FROM pg_roles WHERE rolname = 'monitor'") == [["f"] * 5]
    # Text of the queries of others, which pg_stat_statements shows to whom may read all statistics.
    assert server.value("SET ROLE monitor; SELECT pg_has_role('pg_read_all_stats', 'usage')") == "t"
    assert "permission denied" in server.run("SET ROLE monitor; SELECT * FROM pg_authid").stderr
    before = server.value(NEXT_XID)
    apply(server, [WATCHER], ["app"], schemas=True, pooler=POOLER)
    assert server.value(NEXT_XID) == before, "a run without differences writes nothing"
    assert server.query("SELECT * FROM pgbouncer.get_auth('monitor')") == []
    apply(server, [], gone=["monitor"])
    assert server.query("SELECT 1 FROM pg_roles WHERE rolname = 'monitor'") == []


def test_nothing_of_a_user_runs_with_the_rights_of_monitoring(server: Server) -> None:
    """A schema or operator that a user planted for the queries of exporters (CVE-2026-44477)."""
    apply(server, [WATCHER, Role("app", verifier("x"), databases=("app",), grant_public=True)])
    for schema in ("monitor", "public"):
        server.run(
            f"SET ROLE app; CREATE SCHEMA IF NOT EXISTS {schema};"
            f"CREATE FUNCTION {schema}.eq(oid, integer) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION 'trapped as %', current_user; END $$;"
            f"CREATE OPERATOR {schema}.= (LEFTARG = oid, RIGHTARG = integer, FUNCTION = {schema}.eq);"
            f"CREATE VIEW {schema}.pg_settings AS SELECT 'trap' AS name",
            database="app",
        )
    # No operator of pg_catalog has exactly these types, so the search goes on to the next schemas.
    trap = "SELECT count(*) FROM pg_class WHERE oid = 1259"
    unsafe = server.run(f"SET search_path = monitor; {trap}", database="app")
    assert "trapped as postgres" in unsafe.stderr, "the trap is one"
    server.run("ALTER DATABASE app SET search_path = public, pg_catalog")
    assert server.value(trap, "app", user="monitor") == "1"
    assert server.value("SELECT count(*) > 1 FROM pg_settings", "app", user="monitor") == "t"
    assert server.value("SHOW search_path", user="monitor") == "pg_catalog, public, pg_temp"


def test_names_come_through_as_they_are(server: Server) -> None:
    roles = [Role(name, verifier(name), databases=(name, NASTY[0])) for name in NASTY]
    facts = apply(server, roles, schemas=True, pooler=POOLER)

    assert facts.database_errors == {}
    assert set(NASTY) < set(facts.databases)
    assert [password_of(server, name) for name in NASTY] == [verifier(name) for name in NASTY]
    found = "SELECT json_agg(nspname) FROM pg_namespace WHERE nspowner > 16383"
    assert set(json.loads(server.value(found, NASTY[0]))) == set(NASTY)
    before = server.value(NEXT_XID)
    again = apply(server, roles, schemas=True, pooler=POOLER)
    # The server writes by itself, too.
    assert replace(again, location=facts.location) == facts
    assert server.value(NEXT_XID) == before


@pytest.mark.parametrize("text", [*NASTY, "", "'", "''", "\\", "\\'", "E'x'", "a\rb\tc", '"'])
def test_literals_and_names_are_read_back(server: Server, text: str) -> None:
    for setting in ("on", "off"):
        prefix = f"SET standard_conforming_strings = {setting}; SET escape_string_warning = off;"
        assert server.value(f"{prefix} SELECT md5({quoting.quote_literal(text)})") == server.value(
            f"SELECT md5(convert_from('\\x{text.encode().hex()}', 'UTF8'))"
        )
    if text:
        assert server.query(f"SELECT 1 AS {quoting.quote_ident(text)}") == [["1"]]


@pytest.mark.parametrize("name", ["", "x" * 64, "ü" * 32, "a\0b", "\ud800"])
def test_names_that_postgresql_cannot_hold_are_refused(name: str) -> None:
    with pytest.raises(InvalidSpec):
        reconcile_script([Role(name, None)], [], schemas=False, pooler=None, extensions={}, major=17)
    with pytest.raises(InvalidSpec):
        reconcile_script([], [name], schemas=False, pooler=None, extensions={}, major=17)


@pytest.mark.parametrize("text", ["secret", "md5" + "0" * 32, "", "SCRAM-SHA-256$4096:x$y:z"])
def test_a_clear_password_is_never_sent(text: str) -> None:
    with pytest.raises(InvalidSpec) as error:
        reconcile_script([Role("app", text)], [], schemas=False, pooler=None, extensions={}, major=17)
    assert not text or text not in str(error.value)


def test_a_role_that_is_refused_stops_no_other(server: Server) -> None:
    script = reconcile_script(
        [
            Role("before", verifier("x"), databases=("one",)),
            Role("pg_reserved", verifier("canary"), databases=("two",)),
            Role("after", verifier("y"), databases=("two",)),
        ],
        [],
        schemas=True,
        pooler=POOLER,
        extensions={},
        major=server.major,
    )
    done = server.run(script)
    assert done.returncode == 0, done.stderr
    assert "SCRAM" not in done.stderr + done.stdout
    facts = parse_report(done.stdout)
    assert facts.complete
    assert set(facts.refused) == {"user 'pg_reserved'", "database 'two', schema 'pg_reserved'"}
    assert "reserved" in facts.refused["user 'pg_reserved'"]
    made = server.query("SELECT rolname FROM pg_roles WHERE rolname IN ('before', 'after', 'pg_reserved')")
    assert sorted(made) == [["after"], ["before"]]
    assert server.value("SELECT has_database_privilege('after', 'two', 'CREATE')") == "t"
    assert server.value("SELECT count(*) FROM pgbouncer.get_auth('after')") == "1"
    canary = verifier("canary")
    assert canary not in server.log


def test_a_new_password_arrives_whatever_is_wrong_with_other_roles(server: Server) -> None:
    apply(server, [Role("w1", verifier("old"))])
    facts = apply(server, [Role("pg_bad", verifier("x")), Role("w1", verifier("new"))])
    assert facts.refused
    assert server.value("SELECT rolpassword FROM pg_authid WHERE rolname = 'w1'") == verifier("new")


def test_a_database_that_is_refused_stops_no_other(server: Server) -> None:
    # Its template is in use, so it cannot be copied.
    using = subprocess.Popen(
        [server.binaries / "psql", "-X", "-h", str(server.folder), "-U", "postgres", "template1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert using.stdin is not None
    assert using.stdout is not None
    try:
        print("SELECT 'here';", file=using.stdin, flush=True)
        while "here" not in using.stdout.readline():
            pass
        facts = apply(server, [Role("app", verifier("x"), databases=("copy",))])
    finally:
        using.communicate()
    assert facts.complete
    assert "template1" in facts.refused["database 'copy'"]
    assert server.query("SELECT 1 FROM pg_roles WHERE rolname = 'app'") == [["1"]]


def test_verifiers_do_not_land_in_logs_statistics_or_activity(server: Server) -> None:
    server.run("CREATE EXTENSION IF NOT EXISTS pg_stat_statements; SELECT pg_stat_statements_reset()")
    everything(server)
    everything(server)
    server.run(
        reconcile_script(
            [Role("pg_x", verifier("y"))], [], schemas=False, pooler=None, extensions={}, major=server.major
        )
    )

    secrets = [verifier(p) for p in ("app", "root", "guest", "y")] + [POOLER.verifier]
    parts = [part for text in secrets for part in text.split("$")[2].split(":")]
    assert "SELECT" in server.log  # else the server does not log, and the test tells nothing
    assert [part for part in parts if part in server.log] == []
    statements = str(server.query("SELECT query FROM pg_stat_statements"))
    assert [part for part in parts if part in statements] == []


def test_nothing_of_a_user_runs_with_the_operators_rights(server: Server) -> None:
    """A user's search path, role and functions must not reach the superuser's session (CVE-2026-55769)."""
    apply(server, [Role("app", verifier("x"), databases=("app",), grant_public=True)])
    server.run(
        "CREATE FUNCTION public.trap() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'trapped as %', current_user; END $$;"
        "CREATE FUNCTION public.format(text, name) RETURNS text LANGUAGE sql AS 'SELECT public.trap()::text';"
        "CREATE FUNCTION public.eq(name, text) RETURNS boolean LANGUAGE sql AS 'SELECT public.trap()';"
        "CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = text, FUNCTION = public.eq);"
        "CREATE FUNCTION public.count(text) RETURNS text LANGUAGE sql AS 'SELECT public.trap()::text';"
        "CREATE VIEW public.pg_settings AS SELECT public.trap() AS name;"
        "ALTER DATABASE app SET search_path = public, pg_catalog;"
        "ALTER DATABASE app SET role = 'app';"
        "ALTER DATABASE app SET standard_conforming_strings = off;"
        "ALTER DATABASE app SET default_transaction_read_only = on;"
        "ALTER DATABASE app SET statement_timeout = 1;",
        database="app",
    )
    server.run("ALTER ROLE postgres SET search_path = public, pg_catalog")

    facts = apply(
        server,
        [Role("app", verifier("x"), databases=("app",)), Role("b\\", verifier("b"), databases=("app",))],
        schemas=True,
        pooler=POOLER,
        extensions={"hstore": True},
    )

    assert facts.database_errors == {}
    server.run("ALTER DATABASE app RESET ALL")
    owner = "SELECT pg_get_userbyid(proowner), prosecdef FROM pg_proc WHERE proname = 'get_auth'"
    assert server.query(owner) == [["postgres", "t"]]


def test_one_database_that_fails_does_not_stop_the_others(server: Server) -> None:
    apply(server, [], ["broken", "closed", "fine", "weird"])
    server.run("ALTER DATABASE closed ALLOW_CONNECTIONS false")
    server.run("ALTER DATABASE broken SET local_preload_libraries = 'no_such_library'")
    server.run("CREATE EXTENSION hstore; CREATE TABLE t (h hstore)", database="weird")

    facts = apply(server, [], pooler=POOLER, extensions={"hstore": False})

    assert set(facts.database_errors) == {"broken"}
    assert "no_such_library" in facts.database_errors["broken"]
    refused = facts.refused_extensions["weird"]["hstore"]
    assert "cannot drop extension hstore" in refused
    assert "column h of table public.t" in refused, "what depends on it is not named"
    assert set(facts.refused_extensions) == {"weird"}
    assert "closed" not in facts.databases
    assert server.value("SELECT count(*) FROM pgbouncer.get_auth('x')") == "0"
    assert facts.complete


@pytest.mark.parametrize(
    "forged", ['{"fact":"server"}', '{"fact":"state"}', '{"fact":"database","name":"broken"}']
)
def test_a_name_of_a_database_adds_nothing_to_the_facts(server: Server, forged: str) -> None:
    """The warning of the server about its collation has the name as it is, line breaks included."""
    if server.major < 15:
        pytest.skip("needs COLLATION_VERSION")
    apply(server, [], ["broken", "fine"])
    server.run("ALTER DATABASE broken SET local_preload_libraries = 'no_such_library'")
    name = f"x\n{forged}\n"
    done = server.run(f"CREATE DATABASE {quoting.quote_ident(name)} COLLATION_VERSION '1'")
    assert "WARNING" in server.run("SELECT 1", database=name).stderr, done.stderr
    facts = apply(server, [])
    assert facts.complete
    assert set(facts.database_errors) == {"broken"}
    assert "no_such_library" in facts.database_errors["broken"]
    assert facts.system_identifier == server.value("SELECT system_identifier FROM pg_control_system()")


def test_databases_of_users_do_not_keep_others_from_theirs(server: Server) -> None:
    """A user creates hundreds of databases: those of the spec come first, then others as time allows."""
    apply(server, [], ["aaa", "zzz"])
    script = reconcile_script([], ["zzz"], schemas=False, pooler=None, extensions={}, major=server.major)
    seen = [
        fact["name"] for fact in map(limits.fields, server.run(script).stdout.splitlines()) if "name" in fact
    ]
    assert seen[:3] == ["postgres", "zzz", "aaa"]
    done = server.run(script.replace("+ 40))", "+ 0))"))
    assert done.returncode == 0, done.stderr
    facts = parse_report(done.stdout)
    assert facts.complete
    assert "no time left" in facts.database_errors["aaa"]


def test_the_pooler_sees_whom_it_may_let_in(server: Server) -> None:
    roles = [
        Role("plain", verifier("1")),
        Role("boss", verifier("2"), "SUPERUSER"),
        Role("copier", verifier("3"), "REPLICATION"),
        Role("late", verifier("4"), "VALID UNTIL '2020-01-01 00:00:00+00'"),
        Role("closed", verifier("5"), "NOLOGIN"),
        Role("postgres", verifier("6")),
    ]
    names = ["plain", "boss", "copier", "late", "closed", "postgres", "_crunchypgbouncer", "nobody"]
    seen = "SELECT username FROM unnest('{" + ",".join(names) + "}'::text[]) n, pgbouncer.get_auth(n)"

    apply(server, roles, pooler=POOLER)
    assert server.query(f"SET ROLE _crunchypgbouncer; {seen}") == [["plain"]]
    apply(server, roles, pooler=Pooler(POOLER.verifier, expose_superusers=True))
    assert server.query(f"SET ROLE _crunchypgbouncer; {seen}") == [["plain"], ["boss"], ["postgres"]]
    assert server.query("SELECT * FROM pgbouncer.get_auth('plain')") == [["plain", verifier("1")]]
    for denied in ("SELECT * FROM pgbouncer.get_auth('plain')", "CREATE TABLE pgbouncer.t ()"):
        assert "permission denied" in server.run(f"SET ROLE plain; {denied}").stderr


def test_a_lookup_of_somebody_elses_making_is_replaced(server: Server) -> None:
    apply(server, [Role("app", verifier("x"), databases=("app",))], pooler=POOLER)
    server.run(
        "ALTER SCHEMA pgbouncer OWNER TO app; GRANT ALL ON SCHEMA pgbouncer TO PUBLIC;"
        "DROP FUNCTION pgbouncer.get_auth; SET ROLE app;"
        "CREATE FUNCTION pgbouncer.get_auth(username text) RETURNS TABLE (u text, p text)"
        " LANGUAGE sql AS $$ SELECT 'postgres', 'mine' $$;"
        "CREATE FUNCTION pgbouncer.get_auth(username varchar) RETURNS text LANGUAGE sql"
        " AS $$ SELECT 'mine' $$;"
        "CREATE TABLE pgbouncer.mine ();",
    )

    facts = apply(server, [Role("app", verifier("x"), databases=("app",))], pooler=POOLER)

    assert facts.database_errors == {}
    assert server.query("SELECT oid::regprocedure FROM pg_proc WHERE proname = 'get_auth'") == [
        ["pgbouncer.get_auth(text)"]
    ]
    assert server.query("SELECT * FROM pgbouncer.get_auth('app')") == [["app", verifier("x")]]
    assert server.value("SELECT has_schema_privilege('app', 'pgbouncer', 'CREATE')") == "f"
    assert server.value("SELECT to_regclass('pgbouncer.mine') IS NULL") == "f"
    server.run("DROP SCHEMA pgbouncer CASCADE")


def test_only_the_database_of_lookups_gets_something_for_the_pooler(server: Server) -> None:
    """Otherwise a database made from template0 would lack it; what was made before stays for old pods."""
    apply(server, [], ["app"], pooler=POOLER)
    assert server.value("SELECT to_regnamespace('pgbouncer') IS NULL", "app") == "t"
    server.run("CREATE SCHEMA pgbouncer", database="app")
    former = "CREATE FUNCTION pgbouncer.get_auth(text) RETURNS text LANGUAGE sql AS 'SELECT $1'"
    server.run(former, database="app")
    server.run("REVOKE CONNECT ON DATABASE app, postgres FROM PUBLIC")

    before = server.value(NEXT_XID)
    assert apply(server, [], ["app"], pooler=POOLER).database_errors == {}
    assert server.value(NEXT_XID) == before
    assert server.value("SELECT to_regprocedure('pgbouncer.get_auth(text)') IS NULL", "app") == "f"
    assert server.value("SELECT has_database_privilege('_crunchypgbouncer', 'postgres', 'CONNECT')") == "t"
    apply(server, [], ["app"])
    assert server.value("SELECT to_regnamespace('pgbouncer') IS NULL", "app") == "t"
    server.run("GRANT CONNECT ON DATABASE postgres TO PUBLIC")


def test_the_user_may_have_passwords_looked_up_in_another_database(server: Server) -> None:
    apply(server, [], ["app"], pooler=replace(POOLER, lookup="app"))
    assert server.value("SELECT to_regprocedure('pgbouncer.get_auth(text)') IS NULL", "app") == "f"
    assert server.value("SELECT to_regprocedure('pgbouncer.get_auth(text)') IS NULL") == "t"
    assert (
        server.value(
            "SELECT datacl::text LIKE '%_crunchypgbouncer=c%' FROM pg_database WHERE datname = 'app'"
        )
        == "t"
    )


def test_revoking_connect_from_everybody_does_not_stop_lookups(server: Server) -> None:
    """The privilege is granted before it is missing."""
    apply(server, [], pooler=POOLER)
    server.run("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
    try:
        assert (
            server.value("SELECT has_database_privilege('_crunchypgbouncer', 'postgres', 'CONNECT')") == "t"
        )
    finally:
        server.run("GRANT CONNECT ON DATABASE postgres TO PUBLIC")


def test_without_a_pooler_nothing_of_it_remains(server: Server) -> None:
    apply(server, [], ["app"], pooler=POOLER)
    server.run(
        "CREATE TABLE t (); GRANT SELECT ON t TO _crunchypgbouncer; CREATE TABLE mine ();"
        "ALTER TABLE mine OWNER TO _crunchypgbouncer",
        database="app",
    )

    assert apply(server, []).database_errors == {}
    assert server.query("SELECT 1 FROM pg_roles WHERE rolname = '_crunchypgbouncer'") == []
    for database in ("app", "postgres", "template1"):
        assert server.value("SELECT to_regnamespace('pgbouncer') IS NULL", database) == "t"
    assert server.value("SELECT relowner = 10 FROM pg_class WHERE relname = 'mine'", "app") == "t"
    before = server.value(NEXT_XID)
    apply(server, [])
    assert server.value(NEXT_XID) == before


def test_an_extension_that_is_switched_off_is_dropped(server: Server) -> None:
    apply(server, [], ["app"], extensions={"hstore": True})
    apply(server, [], ["app"], extensions={"hstore": False, "nope": False})
    assert server.query("SELECT 1 FROM pg_extension WHERE extname = 'hstore'", "app") == []


def test_a_server_of_another_version_is_left_alone(server: Server) -> None:
    facts = apply(server, [Role("app", None)], ["app"], major=server.major + 1)
    assert not facts.complete
    assert facts.server_version_num // 10000 == server.major
    assert server.query("SELECT 1 FROM pg_roles WHERE rolname = 'app'") == []


def test_what_postgresql_refuses_in_its_files_is_told(server: Server) -> None:
    conf, hba = server.folder / "data/postgresql.conf", server.folder / "data/pg_hba.conf"
    texts = conf.read_text(), hba.read_text()
    try:
        conf.write_text(texts[0] + "work_mem = 'plenty'\nmax_worker_processes = 21\n")
        hba.write_text(texts[1] + "host all all 10.0.0.0/99 trust\n")
        server.value("SELECT pg_reload_conf()")
        facts = parse_report(server.run(report_script(extensions={}, major=server.major)).stdout)
        assert "work_mem" in facts.file_errors
        assert len(facts.hba_errors) == 1
        assert "10.0.0.0/99" in facts.hba_errors[0]
        conf.write_text(texts[0] + "max_worker_processes = 21\n")
        server.value("SELECT pg_reload_conf(), pg_sleep(0.3)")
        facts = parse_report(server.run(report_script(extensions={}, major=server.major)).stdout)
        assert (facts.pending_restart, dict(facts.file_errors)) == (("max_worker_processes",), {})
    finally:
        conf.write_text(texts[0])
        hba.write_text(texts[1])
        server.value("SELECT pg_reload_conf(), pg_sleep(0.3)")


def test_what_alter_system_replaced_is_taken_back_if_it_is_ours(server: Server) -> None:
    auto, included = server.folder / "data/postgresql.auto.conf", server.folder / "data/more.conf"
    conf = server.folder / "data/postgresql.conf"
    text = conf.read_text()
    try:
        included.write_text("archive_timeout = 7\n")
        conf.write_text(f"{text}include 'more.conf'\n")
        for name, value in {"archive_command": "/bin/true", "archive_mode": "off", "work_mem": "8MB"}.items():
            server.run(f"ALTER SYSTEM SET {name} = '{value}'")
        server.value("SELECT pg_reload_conf(), pg_sleep(0.3)")
        facts = apply(server, [])
        assert facts.complete
        assert facts.reset == {
            "archive_command": f"'/bin/true' in {auto}:3",
            "archive_mode": f"'off' in {auto}:4",
        }
        assert facts.elsewhere == {
            "work_mem": f"'8MB' in {auto}:3",
            "archive_timeout": f"'7' in {included}:1",
        }
        assert "archive" not in auto.read_text()
        facts = apply(server, [])
        assert facts.reset == {}
        assert facts.elsewhere.keys() == {"work_mem", "archive_timeout"}
        server.run("ALTER SYSTEM SET primary_conninfo = 'password=secret'")
        assert "secret" not in str(apply(server, []).reset)
    finally:
        conf.write_text(text)
        included.unlink()
        server.run("ALTER SYSTEM RESET ALL")
        server.value("SELECT pg_reload_conf(), pg_sleep(0.3)")


@pytest.fixture
def standby(server: Server) -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="pgoperator-", dir="/tmp"))
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    folder.chmod(0o755)
    copy: list[str | Path] = [
        server.binaries / "pg_basebackup",
        "-h",
        server.folder,
        "-U",
        "postgres",
        "-D",
        folder / "data",
    ]
    subprocess.run([*copy, "-R", "-N", "-c", "fast", "-X", "stream"], check=True, **_drop_privileges())
    process = _start(folder, server.binaries, ["-c", "listen_addresses=", "-c", "cluster_name=second"])
    yield Server(server.binaries, folder)
    process.terminate()
    process.wait(timeout=30)
    shutil.rmtree(folder)


def test_a_standby_is_left_alone_and_its_primary_knows_it(server: Server, standby: Server) -> None:
    facts = apply(standby, [Role("app", verifier("x"))], ["app"])
    assert (facts.in_recovery, facts.complete) == (True, False)
    assert facts.system_identifier == server.value("SELECT system_identifier FROM pg_control_system()")

    for _ in range(50):
        facts = parse_report(server.run(report_script(extensions={}, major=server.major)).stdout)
        if facts.replication and facts.replication[0].state == "streaming":
            break
    (row,) = facts.replication
    assert (row.application_name, row.state, row.sync_state) == ("second", "streaming", "async")
    assert row.replayed is None or 0 < row.replayed <= facts.location


def test_a_slot_that_holds_much_wal_is_reported(server: Server) -> None:
    report = report_script(extensions={}, major=server.major)
    server.query("SELECT pg_create_logical_replication_slot('slow', 'test_decoding')")
    try:
        assert parse_report(server.run(report).stdout).slots == ()
        # A segment after the other, without writing it.
        switch = "SELECT pg_logical_emit_message(false, 'a', 'b');\nSELECT pg_switch_wal();\n"
        assert server.run("SET wal_init_zero = off;\n" + switch * 66).returncode == 0
        (slot,) = parse_report(server.run(report).stdout).slots
        assert slot == Slot("slow", active=False, lost=False, held=slot.held)
        assert slot.held > 1 << 30
    finally:
        server.query("SELECT pg_drop_replication_slot('slow')")
    assert parse_report(server.run(report).stdout).slots == ()


def test_output_without_the_servers_fact_is_an_error() -> None:
    with pytest.raises(OperatorError):
        parse_report("psql: error: connection to server failed\n[]\n")


def test_the_script_has_no_other_place_for_a_secret_than_its_variables() -> None:
    secret = verifier("canary")
    script = reconcile_script([Role("app", secret)], [], schemas=False, pooler=None, extensions={}, major=17)
    assert [line.split(" ")[1] for line in script.splitlines() if secret in line] == ["roles"]
    assert re.search(r"^\\set roles '", script, re.MULTILINE)
