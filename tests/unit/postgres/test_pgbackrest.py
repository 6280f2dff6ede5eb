"""pgBackRest's files as whole texts, and what the real program says to them."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pgoperator.postgres import pgbackrest
from pgoperator.postgres.pgbackrest import Repo

from .conftest import Server, _drop_privileges

REPOS = [
    Repo("repo1", "volume"),
    Repo("repo2", "s3", {"bucket": "b", "endpoint": "e.example", "region": "r"}),
    Repo("repo3", "gcs", {"bucket": "g"}),
    Repo("repo4", "azure", {"container": "c"}),
]
KEEP_ALIVE = "tcp-keep-alive-count = 3\ntcp-keep-alive-idle = 5\ntcp-keep-alive-interval = 5\n"
OVERRIDES = {"repo1-retention-full": "2", "io-timeout": "30", "pg1-path": "/evil", "tls-server-auth": "x=*"}

COMMON = """\
repo1-bundle = y
repo1-path = /pgbackrest/repo1
repo1-retention-full = 2
repo2-bundle = y
repo2-path = /pgbackrest/repo2
repo2-s3-bucket = b
repo2-s3-endpoint = e.example
repo2-s3-region = r
repo2-type = s3
repo3-bundle = y
repo3-gcs-bucket = g
repo3-path = /pgbackrest/repo3
repo3-type = gcs
repo4-azure-container = c
repo4-bundle = y
repo4-path = /pgbackrest/repo4
repo4-type = azure
"""
CLIENT = """\
{0}-ca-file = /etc/pgbackrest/conf.d/~postgres-operator/tls-ca.crt
{0}-cert-file = /etc/pgbackrest/conf.d/~postgres-operator/client-tls.crt
{0}-key-file = /etc/pgbackrest/conf.d/~postgres-operator/client-tls.key
{0}-type = tls
"""


def instance_conf(**changes: Any) -> str:
    arguments: dict[str, Any] = {
        "repos": REPOS,
        "repo_host": "c-repo-host-0.c-pods.ns.svc.cluster.local",
        "pg_path": "/pgdata/pg17",
        "pg_port": 5432,
        "overrides": OVERRIDES,
    }
    return pgbackrest.instance_conf(**arguments | changes)


def test_instance_file() -> None:
    host = "repo1-host = c-repo-host-0.c-pods.ns.svc.cluster.local\n" + CLIENT.format("repo1-host")
    assert instance_conf() == (
        "[global]\narchive-async = y\narchive-timeout = 60\ndb-timeout = 600\nio-timeout = 30\n"
        "log-path = /pgdata/pgbackrest/log\nprotocol-timeout = 660\n"
        "repo1-bundle = y\n"
        + host
        + "repo1-host-user = postgres\n"
        + COMMON.removeprefix("repo1-bundle = y\n")
        + "spool-path = /pgdata/pgbackrest-spool\nstart-fast = y\n"
        + KEEP_ALIVE
        + "\n[global:archive-get]\ndb-timeout = 20\nprotocol-timeout = 60\n"
        "\n[global:archive-push]\ndb-timeout = 20\nprotocol-timeout = 60\n"
        "\n[global:restore]\nprotocol-timeout = 120\n"
        "\n[db]\npg1-path = /pgdata/pg17\npg1-port = 5432\npg1-socket-path = /tmp/postgres\n"
    )


def test_limits_of_the_user_hold_for_single_files_too() -> None:
    assert "global:archive" not in instance_conf(overrides={"db-timeout": "300"})


def test_a_limit_of_the_user_holds_for_sessions_and_restores_too() -> None:
    """They go together: who restores says something in half of its own."""
    own = {"protocol-timeout": "1900"}
    assert "global:restore" not in instance_conf(overrides=own)
    assert "global:server" not in pgbackrest.repo_conf(repos=REPOS, hosts=[], overrides=own)


def test_repository_file() -> None:
    text = pgbackrest.repo_conf(
        repos=REPOS,
        hosts=[("a.example", 5432, "/pgdata/pg17"), ("b.example", 5433, "/x")],
        overrides=OVERRIDES,
    )
    assert text == (
        "[global]\narchive-timeout = 60\ndb-timeout = 600\nio-timeout = 30\n"
        "log-path = /pgbackrest/repo1/log\nprotocol-timeout = 660\n"
        + COMMON
        + "start-fast = y\n"
        + KEEP_ALIVE
        + "\n[global:server]\nprotocol-timeout = 150\n"
        "\n[db]\n"
        "pg1-host = a.example\n"
        + CLIENT.format("pg1-host")
        + "pg1-path = /pgdata/pg17\npg1-port = 5432\npg1-socket-path = /tmp/postgres\n"
        "pg2-host = b.example\n"
        + CLIENT.format("pg2-host")
        + "pg2-path = /x\npg2-port = 5433\npg2-socket-path = /tmp/postgres\n"
    )


def test_without_a_volume_there_is_no_place_for_a_log() -> None:
    text = pgbackrest.repo_conf(repos=REPOS[1:], hosts=[], overrides={})
    assert "log-level-file = off" in text
    assert "log-path" not in text


def test_server_file() -> None:
    assert pgbackrest.server_conf(client_cn="pgbackrest@1-2") == (
        "[global]\ntls-server-address = 0.0.0.0\ntls-server-auth = pgbackrest@1-2=*\n"
        "tls-server-ca-file = /etc/pgbackrest/conf.d/~postgres-operator/tls-ca.crt\n"
        "tls-server-cert-file = /etc/pgbackrest/server/server-tls.crt\n"
        "tls-server-key-file = /etc/pgbackrest/server/server-tls.key\n"
        "\n[global:server]\nlog-level-console = detail\nlog-level-file = off\nlog-level-stderr = error\n"
        "log-timestamp = n\n"
    )
    assert "tls-server-address = ::\n" in pgbackrest.server_conf(client_cn="x", ipv6=True)


def test_encrypted_wal_is_pushed_one_by_one() -> None:
    text = instance_conf(wal_encryption=True)
    assert all(
        line in text for line in ("archive-async = n", "archive-header-check = n", "checksum-page = n")
    )


def test_forbidden_options_are_named() -> None:
    assert pgbackrest.forbidden({**OVERRIDES, "repo1-host-port": "1", "repo1-type": "x", "stanza": "x"}) == [
        "pg1-path",
        "repo1-host-port",
        "repo1-type",
        "stanza",
        "tls-server-auth",
    ]
    allowed = [
        "repo1-cipher-type",
        "repo1-path",
        "process-max",
        "repo1-s3-uri-style",
        "log-path",
        "archive-async",
    ]
    assert pgbackrest.forbidden(allowed) == []


@pytest.mark.parametrize("name", ["repo5", "repo0", "repo", "x", "repo1\n"])
def test_names_of_repositories(name: str) -> None:
    with pytest.raises(ValueError):
        Repo(name, "volume")


def test_commands() -> None:
    assert pgbackrest.archive_command("abc").endswith(' = abc ] && pgbackrest --stanza=db archive-push "%p"')
    assert pgbackrest.archive_command("abc", "push.sh") == 'bash push.sh "%p" abc'
    assert pgbackrest.restore_command() == 'pgbackrest --stanza=db archive-get %f "%p"'
    assert pgbackrest.restore_command("repo2") == 'pgbackrest --stanza=db --repo=2 archive-get %f "%p"'


Command = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture
def configured(server: Server) -> Iterator[Command]:
    """Run a command as the server's account, with a configuration whose folders are below the server's."""
    folder = server.folder / "backup"
    folder.mkdir()
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    text = pgbackrest.instance_conf(
        repos=REPOS[:1],
        repo_host=None,
        pg_path=str(server.folder / "data"),
        pg_port=5432,
        overrides={"archive-async": "n"},
    )
    for path in ("/pgbackrest", "/pgdata"):
        text = text.replace(f" {path}", f" {folder}{path}")
    text = text.replace("/tmp/postgres", str(server.folder)).replace(" /tmp/pgbackrest", f" {folder}/lock")
    (folder / "pgbackrest.conf").write_text(text)

    def run(command: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "PGBACKREST_CONFIG": str(folder / "pgbackrest.conf")}
        environment |= {"PGBACKREST_LOG_LEVEL_FILE": "off", "PGBACKREST_LOCK_PATH": str(folder / "lock")}
        return subprocess.run(
            command,
            shell=True,
            cwd=server.folder / "data",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            **_drop_privileges(),
        )

    yield run
    shutil.rmtree(folder)


def test_the_status_of_archive_command_is_that_of_the_push(server: Server, configured: Command) -> None:
    segment = server.value("SELECT pg_walfile_name(pg_logical_emit_message(false, 'test', 'x'))")
    server.value("SELECT pg_switch_wal()")

    def push(mounted: str) -> subprocess.CompletedProcess[str]:
        """Push while the configuration with this digest is mounted."""
        hash_file = server.folder / "backup/config-hash"
        hash_file.write_text(mounted)
        command = pgbackrest.archive_command("abc").replace("%p", f"pg_wal/{segment}")
        return configured(command.replace(pgbackrest.CONFIG_HASH, str(hash_file)))

    before = push("abc")
    made = configured("pgbackrest --stanza=db --no-online stanza-create")
    unconfirmed = push("another")
    after = push("abc")

    assert made.returncode == 0, made.stdout
    assert before.returncode != 0  # there is no stanza to push to yet
    assert unconfirmed.returncode != 0
    assert after.returncode == 0, after.stdout
    assert configured("pgbackrest --stanza=db archive-push pg_wal/" + "0" * 24).returncode != 0
    get = pgbackrest.restore_command().replace("%f", segment).replace("%p", "restored")
    assert configured(get).returncode == 0
    assert (server.folder / "data/restored").stat().st_size == 16 * 1024 * 1024


@pytest.mark.parametrize("file", ["instance", "repository", "server"])
def test_the_program_knows_every_option(server: Server, configured: Command, file: str) -> None:
    text = {
        "instance": instance_conf(wal_encryption=True),
        "repository": pgbackrest.repo_conf(repos=REPOS, hosts=[("a.example", 1, "/x")], overrides={}),
        "server": pgbackrest.server_conf(client_cn="x"),
    }[file]
    path = server.folder / "backup/any.conf"
    # Without the account of repo4 the command ends before it would reach out to any storage.
    for extra, complaint in (("", False), ("\n[global]\nno-such-option=1\n", True)):
        path.write_text(text + extra)
        done = configured(f"pgbackrest --config={path} --stanza=db --repo4-type=azure info")
        assert done.returncode == 37
        assert ("invalid option" in done.stdout + done.stderr) == complaint, done.stdout
