"""Whose setting wins, and what is refused."""

from typing import Any

import pytest

from pgoperator.errors import InvalidSpec
from pgoperator.postgres import parameters

from .conftest import Server

COMMANDS: dict[str, Any] = {"archive_command": "push %p", "restore_command": "get %f %p"}


def effective(
    user: dict[str, Any] | None = None, config: dict[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    return parameters.effective(user or {}, config or {}, **COMMANDS, **options)


def test_defaults_and_mandatory_values() -> None:
    assert effective() == {
        "archive_command": "push %p",
        "archive_mode": "on",
        "archive_timeout": "60s",
        "huge_pages": "off",
        "jit": "off",
        "log_line_prefix": "%m [%p]: %quser=%u,db=%d,app=%a,client=%h ",
        "output_plugin_libraries": "pgoutput, test_decoding, wal2json",
        "password_encryption": "scram-sha-256",
        "restore_command": "get %f %p",
        "ssl": "on",
        "ssl_ca_file": "/pgconf/tls/replication/ca.crt",
        "ssl_cert_file": "/pgconf/tls/tls.crt",
        "ssl_key_file": "/pgconf/tls/tls.key",
        "unix_socket_directories": "/tmp/postgres",
        "wal_level": "logical",
    }


def test_order_of_precedence() -> None:
    result = effective(
        {"JIT": "on", "work_mem": "8MB", "ssl": "off", "archive_command": "true", "restore_command": "mine"},
        {"work_mem": "16MB", "max_connections": 50, "autovacuum": True},
    )
    assert result["jit"] == "on"
    assert result["work_mem"] == "16MB"
    assert result["max_connections"] == 50
    assert result["autovacuum"] is True
    assert result["ssl"] == "on"
    assert result["archive_command"] == "push %p"
    assert result["restore_command"] == "mine"


def test_null_means_not_set() -> None:
    assert "work_mem" not in effective({"work_mem": None})


def test_libraries_are_joined_the_users_first_and_citus_before_all() -> None:
    result = effective(
        {"shared_preload_libraries": "timescaledb, pgaudit ,citus,"},
        shared_preload=["pg_stat_statements", "pgaudit"],
    )
    assert result["shared_preload_libraries"] == "citus,timescaledb,pgaudit,pg_stat_statements"


def test_libraries_bring_their_settings() -> None:
    result = effective(shared_preload=["pg_stat_statements", "pg_stat_monitor", "pg_cron"])
    assert result["pg_stat_statements.track"] == "all"
    assert result["pg_stat_monitor.pgsm_query_max_len"] == "2048"
    assert result["cron.database_name"] == "postgres"


def test_options_of_the_operator() -> None:
    result = effective(huge_pages=True, track_commit_timestamp=True)
    assert (result["huge_pages"], result["track_commit_timestamp"]) == ("try", "on")


def test_rejected_names_what_has_no_effect() -> None:
    user = {
        "ssl": "off",
        "archive_mode": True,
        "archive_command": "x",
        "restore_command": "x",
        "Port": 1,
        "hba_file": "x",
        "include_if_exists": "x",
        "unix_socket_permissions": "0000",
        "recovery_target_time": "x",
        "work_mem": "1MB",
    }
    assert parameters.rejected(user) == [
        "archive_command",
        "hba_file",
        "include_if_exists",
        "port",
        "recovery_target_time",
        "ssl",
        "unix_socket_permissions",
    ]
    assert not set(parameters.rejected(user)) - {"ssl", "archive_command"} & set(effective(user))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("work mem", 1),
        ("work_mem = 1\nx", 1),
        ("", 1),
        ("1x", 1),
        ("a..b", 1),
        ("work_mem#", 1),
        ("wörk", 1),
        ("work_mem", "1\nssl = off"),
        ("work_mem", "1\0"),
        ("work_mem", ["1"]),
        ("work_mem", {"a": 1}),
        ("wal_level", "minimal"),
    ],
)
def test_what_cannot_be_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidSpec):
        effective({name: value})
    with pytest.raises(InvalidSpec):
        effective({}, {name: value})


def test_wal_level_replica_is_allowed() -> None:
    assert effective({"wal_level": "replica"})["wal_level"] == "replica"


def test_the_server_knows_every_parameter_we_set(server: Server) -> None:
    names = set(effective(shared_preload=["pg_stat_statements"], track_commit_timestamp=True))
    known = {name for (name,) in server.query("SELECT name FROM pg_settings")}
    # Only recent minor versions know it, and Patroni leaves out what the server does not know.
    assert names - known <= {"output_plugin_libraries"}


def test_lines_of_the_log_name_user_database_application_and_client() -> None:
    """pgBadger finds the parts by these words; processes without a session have none of them."""
    prefix = effective({}, {})["log_line_prefix"]
    assert prefix == "%m [%p]: %quser=%u,db=%d,app=%a,client=%h "
    own = effective({"log_line_prefix": "%m "}, {})
    assert own["log_line_prefix"] == "%m "
