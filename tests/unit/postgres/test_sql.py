"""The scripts against a real server: what they bring about, what they leave alone, what they give away."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pgoperator.errors import InvalidSpec, OperatorError
from pgoperator.postgres import scram, sql
from pgoperator.postgres.sql import Facts, Pooler, Role, access_script, look_script, parse_facts

from .conftest import Server, _drop_privileges, _start

SALT = b"0123456789abcdef"
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
) -> Facts:
    script = access_script(
        roles,
        databases or [],
        schemas=schemas,
        pooler=pooler,
        extensions=extensions or {},
        major=major or server.major,
    )
    done = server.run(script)
    assert done.returncode == 0, done.stderr
    return parse_facts(done.stdout)


def password_of(server: Server, role: str) -> str:
    return server.value(f"SELECT rolpassword FROM pg_authid WHERE rolname = {sql.quote_literal(role)}")


def everything(server: Server) -> Facts:
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


def test_everything_wanted_is_there_after_one_run(server):
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


def test_a_run_on_a_right_cluster_writes_nothing(server):
    first = everything(server)
    before = server.value(NEXT_XID)

    # PostgreSQL writes WAL by itself now and then.
    assert replace(everything(server), location=first.location) == first
    assert server.value(NEXT_XID) == before


def test_a_look_writes_nothing_and_tells_of_the_server(server):
    before = server.value(NEXT_XID)
    done = server.run(look_script(extensions={"nope": True, "hstore": False}, major=server.major))
    facts = parse_facts(done.stdout)

    assert (facts.complete, facts.missing_extensions, facts.databases) == (True, ("nope",), ())
    assert server.value(NEXT_XID) == before


def test_drift_is_repaired(server):
    everything(server)
    server.run(
        "ALTER ROLE app NOLOGIN PASSWORD 'other' CONNECTION LIMIT 7 VALID UNTIL '2030-01-01' NOCREATEDB"
    )
    server.run(
        "REVOKE ALL ON DATABASE app FROM app; DROP DATABASE other; ALTER ROLE _crunchypgbouncer SUPERUSER"
    )
    server.run("DROP SCHEMA app; DROP FUNCTION pgbouncer.get_auth; DROP EXTENSION hstore", database="app")

    test_everything_wanted_is_there_after_one_run(server)
    assert server.value("SELECT rolsuper FROM pg_roles WHERE rolname = '_crunchypgbouncer'") == "f"
    assert server.value("SELECT count(*) FROM pgbouncer.get_auth('app')", "app") == "1"


def test_an_option_that_is_taken_away_stays_in_the_role(server):
    apply(server, [Role("app", verifier("x"), "CREATEDB")])
    apply(server, [Role("app", verifier("x"), "")])
    assert server.value("SELECT rolcreatedb FROM pg_roles WHERE rolname = 'app'") == "t"


def test_no_verifier_leaves_the_password_alone(server):
    apply(server, [Role("app", verifier("x"))])
    apply(server, [Role("app", None)])
    assert password_of(server, "app") == verifier("x")


def test_a_superuser_by_request(server):
    apply(server, [Role("monitor", verifier("x"), "NOSUPERUSER", superuser=True)], schemas=True)
    assert server.value("SELECT rolsuper FROM pg_roles WHERE rolname = 'monitor'") == "t"


def test_names_come_through_as_they_are(server):
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
def test_literals_and_names_are_read_back(server, text):
    for setting in ("on", "off"):
        prefix = f"SET standard_conforming_strings = {setting}; SET escape_string_warning = off;"
        assert server.value(f"{prefix} SELECT md5({sql.quote_literal(text)})") == server.value(
            f"SELECT md5(convert_from('\\x{text.encode().hex()}', 'UTF8'))"
        )
    if text:
        assert server.query(f"SELECT 1 AS {sql.quote_ident(text)}") == [["1"]]


@pytest.mark.parametrize("name", ["", "x" * 64, "ü" * 32, "a\0b", "\ud800"])
def test_names_that_postgresql_cannot_hold_are_refused(name):
    with pytest.raises(InvalidSpec):
        access_script([Role(name, None)], [], schemas=False, pooler=None, extensions={}, major=17)
    with pytest.raises(InvalidSpec):
        access_script([], [name], schemas=False, pooler=None, extensions={}, major=17)


@pytest.mark.parametrize("text", ["secret", "md5" + "0" * 32, "", "SCRAM-SHA-256$4096:x$y:z"])
def test_a_clear_password_is_never_sent(text):
    with pytest.raises(InvalidSpec) as error:
        access_script([Role("app", text)], [], schemas=False, pooler=None, extensions={}, major=17)
    assert not text or text not in str(error.value)


def test_a_failing_role_fails_the_run_and_changes_no_other(server):
    script = access_script(
        [Role("app", verifier("x")), Role("pg_reserved", verifier("canary"))],
        [],
        schemas=False,
        pooler=None,
        extensions={},
        major=server.major,
    )
    done = server.run(script)

    assert done.returncode == 3
    assert "pg_reserved" in done.stderr
    assert "SCRAM" not in done.stderr + done.stdout
    assert server.query("SELECT 1 FROM pg_roles WHERE rolname = 'app'") == []


def test_verifiers_do_not_land_in_logs_statistics_or_activity(server):
    server.run("CREATE EXTENSION IF NOT EXISTS pg_stat_statements; SELECT pg_stat_statements_reset()")
    everything(server)
    everything(server)
    server.run(
        access_script(
            [Role("pg_x", verifier("y"))], [], schemas=False, pooler=None, extensions={}, major=server.major
        )
    )

    secrets = [verifier(p) for p in ("app", "root", "guest", "y")] + [POOLER.verifier]
    parts = [part for text in secrets for part in text.split("$")[2].split(":")]
    assert "SELECT" in server.log  # else the server does not log, and the test tells nothing
    assert [part for part in parts if part in server.log] == []
    statements = str(server.query("SELECT query FROM pg_stat_statements"))
    assert [part for part in parts if part in statements] == []


def test_nothing_of_a_user_runs_with_the_operators_rights(server):
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
    assert server.query(owner, "app") == [["postgres", "t"]]


def test_one_database_that_fails_does_not_stop_the_others(server):
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
    assert server.value("SELECT count(*) FROM pgbouncer.get_auth('x')", "fine") == "0"
    assert server.value("SELECT to_regnamespace('pgbouncer') IS NULL", "weird") == "f"
    assert facts.complete


def test_the_pooler_sees_whom_it_may_let_in(server):
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


def test_a_lookup_of_somebody_elses_making_is_replaced(server):
    apply(server, [Role("app", verifier("x"), databases=("app",))], pooler=POOLER)
    server.run(
        "ALTER SCHEMA pgbouncer OWNER TO app; GRANT ALL ON SCHEMA pgbouncer TO PUBLIC;"
        "DROP FUNCTION pgbouncer.get_auth; SET ROLE app;"
        "CREATE FUNCTION pgbouncer.get_auth(username text) RETURNS TABLE (u text, p text)"
        " LANGUAGE sql AS $$ SELECT 'postgres', 'mine' $$;"
        "CREATE FUNCTION pgbouncer.get_auth(username varchar) RETURNS text LANGUAGE sql"
        " AS $$ SELECT 'mine' $$;"
        "CREATE TABLE pgbouncer.mine ();",
        database="app",
    )

    facts = apply(server, [Role("app", verifier("x"), databases=("app",))], pooler=POOLER)

    assert facts.database_errors == {}
    assert server.query("SELECT oid::regprocedure FROM pg_proc WHERE proname = 'get_auth'", "app") == [
        ["pgbouncer.get_auth(text)"]
    ]
    assert server.query("SELECT * FROM pgbouncer.get_auth('app')", "app") == [["app", verifier("x")]]
    assert server.value("SELECT has_schema_privilege('app', 'pgbouncer', 'CREATE')", "app") == "f"
    assert server.value("SELECT to_regclass('pgbouncer.mine') IS NULL", "app") == "f"


def test_without_a_pooler_nothing_of_it_remains(server):
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


def test_an_extension_that_is_switched_off_is_dropped(server):
    apply(server, [], ["app"], extensions={"hstore": True})
    apply(server, [], ["app"], extensions={"hstore": False, "nope": False})
    assert server.query("SELECT 1 FROM pg_extension WHERE extname = 'hstore'", "app") == []


def test_a_server_of_another_version_is_left_alone(server):
    facts = apply(server, [Role("app", None)], ["app"], major=server.major + 1)
    assert not facts.complete
    assert facts.server_version_num // 10000 == server.major
    assert server.query("SELECT 1 FROM pg_roles WHERE rolname = 'app'") == []


def test_what_postgresql_refuses_in_its_files_is_told(server):
    conf, hba = server.folder / "data/postgresql.conf", server.folder / "data/pg_hba.conf"
    texts = conf.read_text(), hba.read_text()
    try:
        conf.write_text(texts[0] + "work_mem = 'plenty'\nmax_worker_processes = 21\n")
        hba.write_text(texts[1] + "host all all 10.0.0.0/99 trust\n")
        server.value("SELECT pg_reload_conf()")
        facts = parse_facts(server.run(look_script(extensions={}, major=server.major)).stdout)
        assert "work_mem" in facts.file_errors
        assert len(facts.hba_errors) == 1
        assert "10.0.0.0/99" in facts.hba_errors[0]
        conf.write_text(texts[0] + "max_worker_processes = 21\n")
        server.value("SELECT pg_reload_conf(), pg_sleep(0.3)")
        facts = parse_facts(server.run(look_script(extensions={}, major=server.major)).stdout)
        assert (facts.pending_restart, dict(facts.file_errors)) == (("max_worker_processes",), {})
    finally:
        conf.write_text(texts[0])
        hba.write_text(texts[1])
        server.value("SELECT pg_reload_conf(), pg_sleep(0.3)")


@pytest.fixture
def standby(server: Server) -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="pgoperator-", dir="/tmp"))
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    folder.chmod(0o755)
    copy = [server.binaries / "pg_basebackup", "-h", server.folder, "-U", "postgres", "-D", folder / "data"]
    subprocess.run([*copy, "-R", "-N", "-c", "fast", "-X", "stream"], check=True, **_drop_privileges())
    process = _start(folder, server.binaries, ["-c", "listen_addresses=", "-c", "cluster_name=second"])
    yield Server(server.binaries, folder)
    process.terminate()
    process.wait(timeout=30)
    shutil.rmtree(folder)


def test_a_standby_is_left_alone_and_its_primary_knows_it(server, standby):
    facts = apply(standby, [Role("app", verifier("x"))], ["app"])
    assert (facts.in_recovery, facts.complete) == (True, False)
    assert facts.system_identifier == server.value("SELECT system_identifier FROM pg_control_system()")

    for _ in range(50):
        facts = parse_facts(server.run(look_script(extensions={}, major=server.major)).stdout)
        if facts.replication and facts.replication[0].state == "streaming":
            break
    (row,) = facts.replication
    assert (row.application_name, row.state, row.sync_state) == ("second", "streaming", "async")
    assert row.replayed is None or 0 < row.replayed <= facts.location


def test_output_without_the_servers_fact_is_an_error():
    with pytest.raises(OperatorError):
        parse_facts("psql: error: connection to server failed\n[]\n")


def test_the_script_has_no_other_place_for_a_secret_than_its_variables():
    secret = verifier("canary")
    script = access_script([Role("app", secret)], [], schemas=False, pooler=None, extensions={}, major=17)
    assert [line.split(" ")[1] for line in script.splitlines() if secret in line] == ["roles"]
    assert re.search(r"^\\set roles '", script, re.MULTILINE)
