"""pgBouncer's files as whole texts, and the real program started with them."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from subprocess import PIPE
from typing import Any

import pytest

from pgoperator import pki
from pgoperator.errors import InvalidSpec
from pgoperator.postgres import pgbouncer, scram, sql
from reconcilers import files

from .conftest import Server, _drop_privileges

SIZES = {"default_pool_size": "26", "max_db_connections": "27", "max_client_conn": "260"}
GOLDEN = """\
;; primary c-primary 5432
[pgbouncer]
default_pool_size = 26
max_client_conn = 260
max_db_connections = 27
%include /etc/pgbouncer/pgbouncer.ini
admin_users = _crunchypgbounceradmin
auth_dbname = postgres
auth_file = /etc/pgbouncer/~postgres-operator/users.txt
auth_query = SELECT username, password FROM pgbouncer.get_auth($1)
auth_type = scram-sha-256
auth_user = _crunchypgbouncer
client_tls_ca_file = /etc/pgbouncer/~postgres-operator/frontend-ca.crt
client_tls_cert_file = /etc/pgbouncer/~postgres-operator/frontend-tls.crt
client_tls_key_file = /etc/pgbouncer/~postgres-operator/frontend-tls.key
client_tls_sslmode = require
conffile = /etc/pgbouncer/~postgres-operator.ini
dns_max_ttl = 5
dns_nxdomain_ttl = 1
ignore_startup_parameters = extra_float_digits
listen_addr = *
listen_port = 5432
server_check_delay = 5
server_connect_timeout = 1.9
server_login_retry = 0.5
server_tls_ca_file = /etc/pgbouncer/~postgres-operator/backend-ca.crt
server_tls_sslmode = verify-full
tcp_keepalive = 1
tcp_keepcnt = 3
tcp_keepidle = 5
tcp_keepintvl = 2
tcp_user_timeout = 10000
unix_socket_dir =

[databases]
* = host=c-primary port=5432
"""


def ini(**changes: Any) -> str:
    arguments: dict[str, Any] = {
        "host": "c-primary",
        "port": 5432,
        "listen_port": 5432,
        "config_global": {},
        "databases": {},
        "users": {},
        "sizes": SIZES,
    }
    return pgbouncer.ini(**arguments | changes)


def test_the_whole_file() -> None:
    assert ini() == GOLDEN


def test_the_users_settings_win_but_not_over_the_operators_way_in() -> None:
    text = ini(
        config_global={
            "admin_users": "me, _crunchypgbounceradmin",
            "conffile": "/x",
            "server_login_retry": "3",
        },
        databases={"app": "host=other"},
        users={"app": "pool_mode=session"},
    )
    assert "admin_users = _crunchypgbounceradmin,me\n" in text
    assert "conffile = /etc/pgbouncer/~postgres-operator.ini\n" in text
    assert "server_login_retry = 3\n" in text
    databases = "app = host=other\npostgres = host=c-primary port=5432\n"
    assert text.endswith(f"[databases]\n{databases}\n[users]\napp = pool_mode=session\n")


@pytest.mark.parametrize("own", [{"*": "host=other"}, {"app": "host=x", "postgres": "host=other"}])
def test_an_entry_that_leads_to_the_database_of_lookups_stays_the_only_one(own: dict[str, str]) -> None:
    entries = "".join(f"{name} = {value}\n" for name, value in own.items())
    assert ini(databases=own).endswith(f"[databases]\n{entries}")


def test_the_users_own_lookup_needs_no_entry_of_ours() -> None:
    text = ini(databases={"app": "host=other"}, config_global={"auth_dbname": "app"})
    assert text.endswith("[databases]\napp = host=other\n")


@pytest.mark.parametrize(
    ("databases", "bridged"),
    [
        ({}, True),
        ({"app": "host=c-primary port=5432 pool_size=3"}, True),
        ({"app": "pool_size=3 host='c-primary'"}, True),
        ({"app": "host=other port=5432"}, False),
        ({"app": "host=c-primary,other"}, False),
        ({"app": "host=c-primary port=5433"}, False),
        ({"app": "dbname=app"}, False),
        ({"app": "host=c-primary", "old": "host=c-replicas"}, False),
    ],
)
def test_an_outage_of_the_primary_is_bridged_where_all_databases_lead_to_it(
    databases: dict[str, str], bridged: bool
) -> None:
    line = f"{pgbouncer.PRIMARY} c-primary 5432\n"
    assert ini(databases=databases).startswith(line) == bridged
    assert (line in ini(databases=databases, paused=True)) == bridged
    assert f"'{pgbouncer.PRIMARY} '" in files.read("pgbouncer-outage.sh")


def test_lists_of_startup_parameters_are_merged() -> None:
    text = ini(
        config_global={
            "ignore_startup_parameters": "search_path, extra_float_digits ,lock_timeout",
            "track_extra_parameters": "default_transaction_read_only",
        }
    )
    assert "ignore_startup_parameters = extra_float_digits,search_path,lock_timeout\n" in text
    assert "track_extra_parameters = IntervalStyle,default_transaction_read_only\n" in text


def test_a_setting_cannot_bring_another() -> None:
    with pytest.raises(InvalidSpec):
        ini(config_global={"pool_mode": "session\nadmin_users = evil"})


def test_list_of_accounts() -> None:
    assert pgbouncer.users_txt({"a": 'p"w'}, {'b"': "x y"}) == '"a" "p""w"\n"b""" "x y"\n'


@pytest.mark.parametrize(
    "extra",
    [{"a": "x"}, {"_crunchypgbouncer": "x"}, {"_crunchypgbounceradmin": "x"}, {"b": "x\ny"}, {"b\n": "x"}],
)
def test_accounts_that_are_refused(extra: dict[str, str]) -> None:
    with pytest.raises(InvalidSpec):
        pgbouncer.users_txt({"a": "pw"}, extra)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def pooler(server: Server) -> Iterator[int]:
    """A pgBouncer before the test's server, with our configuration in another folder. Yields its port."""
    folder, port, now = server.folder / "pooler", _free_port(), datetime.now(UTC)
    own = folder / "~postgres-operator"
    own.mkdir(parents=True)
    ca = pki.new_ca("test", now)
    pair = pki.issue(ca, common_name="localhost", dns_names=["localhost"], now=now)
    users = pgbouncer.users_txt({"_crunchypgbouncer": "pooler", pgbouncer.ADMIN_USER: 'ad"min'})
    databases = {"*": f"host={server.folder} port=5432"}
    text = ini(databases=databases, listen_port=port, config_global={"max_client_conn": "50"})
    files = {
        "frontend-ca.crt": ca.cert,
        "backend-ca.crt": ca.cert,
        "frontend-tls.crt": pair.cert,
        "frontend-tls.key": pair.key,
        "users.txt": users.encode(),
    }
    for name, content in files.items():
        (own / name).write_bytes(content)
    # The version of this machine is older than the setting: it looks up in the database that is asked for.
    text = text.replace("auth_dbname = postgres\n", "")
    (folder / "~postgres-operator.ini").write_text(text.replace("/etc/pgbouncer", str(folder)))
    # A user's file that also sets what is ours.
    (folder / "pgbouncer.ini").write_text("default_pool_size = 7\nauth_type = any\n")
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    assert program, "these tests need pgbouncer: apt-get install pgbouncer"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, str(folder / "~postgres-operator.ini")], stdout=log, stderr=log, **_drop_privileges()
        )
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert process.poll() is None, (folder / "log").read_text()
        time.sleep(0.05)
    yield port
    process.kill()
    process.wait()
    shutil.rmtree(folder)


def query(port: int, login: tuple[str, str], database: str, text: str, sslmode: str = "require") -> str:
    user, password = login
    url = f"host=localhost port={port} user={user} dbname={database} sslmode={sslmode} connect_timeout=10"
    environment = os.environ | {"PGPASSWORD": password}
    done = subprocess.run(
        ["psql", "-XAt", "-c", text, url],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return done.stdout.strip() + done.stderr


def test_the_program_takes_the_file_and_lets_users_in(server: Server, pooler: int) -> None:
    verifiers = [scram.verifier(password, b"0123456789abcdef") for password in ("secret", "pooler", "boss")]
    script = sql.reconcile_script(
        [sql.Role("app", verifiers[0], databases=("app",)), sql.Role("boss", verifiers[2], "SUPERUSER")],
        ["app"],
        schemas=True,
        pooler=sql.Pooler(verifiers[1], expose_superusers=False),
        extensions={},
        major=server.major,
    )
    assert server.run(script).returncode == 0

    assert query(pooler, ("app", "secret"), "postgres", "SELECT current_user") == "app"
    assert "failed" in query(pooler, ("app", "wrong"), "postgres", "SELECT 1")
    assert "failed" in query(pooler, ("boss", "boss"), "postgres", "SELECT 1")
    assert "error" in query(pooler, ("app", "secret"), "postgres", "SELECT 1", sslmode="disable").lower()
    shown = query(pooler, (pgbouncer.ADMIN_USER, 'ad"min'), "pgbouncer", "SHOW CONFIG")
    settings = dict(line.split("|")[:2] for line in shown.splitlines())
    assert settings["server_login_retry"] == "0.5"
    assert settings["tcp_user_timeout"] == "10000"
    assert settings["auth_type"] == "scram-sha-256"
    assert settings["default_pool_size"] == "7"
    assert settings["max_client_conn"] == "50"
    assert settings["max_db_connections"] == "27"

    # Other limits are loaded while a client is connected, and its session goes on.
    url = f"host=localhost port={pooler} user=app dbname=postgres sslmode=require"
    file = server.folder / "pooler" / "~postgres-operator.ini"
    with subprocess.Popen(
        ["psql", "-XAt", url], env=os.environ | {"PGPASSWORD": "secret"}, text=True, stdin=PIPE, stdout=PIPE
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write("SELECT 'before';\n")
        client.stdin.flush()
        assert client.stdout.readline() == "before\n"
        file.write_text(file.read_text().replace("max_db_connections = 27", "max_db_connections = 5"))
        query(pooler, (pgbouncer.ADMIN_USER, 'ad"min'), "pgbouncer", "RELOAD")
        assert "max_db_connections|5|" in query(
            pooler, (pgbouncer.ADMIN_USER, 'ad"min'), "pgbouncer", "SHOW CONFIG"
        )
        assert client.communicate("SELECT 'after';\n", timeout=20)[0] == "after\n"


def test_a_paused_pooler_s_file_begins_with_what_the_pods_script_looks_for() -> None:
    free, held = (ini(paused=paused) for paused in (False, True))
    assert held == f"{pgbouncer.PAUSED}\n{free}"
    for script in ("pgbouncer-pause.sh", "pgbouncer-check.sh"):
        assert f'"{pgbouncer.PAUSED}"' in files.read(script)
