"""Settings of pgBouncer: what is let through is what a real pgBouncer reads."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgoperator.errors import InvalidSpec
from pgoperator.postgres import pgbouncer_options

VALUES = (
    "1",
    "0x10",
    "-1",
    "+1",
    "1.5",
    ".5",
    "1e3",
    "twenty",
    "5 min",
    "",
    "on",
    "true",
    "Transaction",
    "Prefer",
)
"""Tried for a setting of each type."""
TYPES = ("default_pool_size", "server_lifetime", "server_reset_query", "pool_mode", "server_tls_sslmode")


def is_let_through(name: str, value: str) -> bool:
    try:
        pgbouncer_options.check({name: value})
    except InvalidSpec:
        return False
    return True


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="pgoperator-pgbouncer-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def is_read(folder: Path, name: str, value: str) -> bool:
    """Whether pgBouncer reads the setting, and not only the next one, which it never reads."""
    program = shutil.which("pgbouncer")
    assert program, "these tests need pgbouncer: apt-get install pgbouncer"
    last = "listen_port" if name != "listen_port" else "pkt_buf"
    settings = f"[pgbouncer]\n{name} = {value}\n{last} = none\n"
    (folder / "pgbouncer.ini").write_text(settings, encoding="utf-8")
    account = {"user": pwd.getpwnam("postgres").pw_uid} if os.getuid() == 0 else {}
    done = subprocess.run(  # type: ignore[call-overload]
        [program, folder / "pgbouncer.ini"],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=20,
        **account,
    )
    assert last in done.stderr or name in done.stderr, done.stderr
    return f"for parameter {name} " not in done.stderr


@pytest.mark.parametrize("name", TYPES)
def test_a_value_is_let_through_if_pgbouncer_reads_it(folder: Path, name: str) -> None:
    judged = {value: is_let_through(name, value) for value in VALUES}
    assert judged == {value: is_read(folder, name, value) for value in VALUES}
    assert len(set(judged.values())) == (1 if name == "server_reset_query" else 2)


def test_every_setting_of_pgbouncer_is_known(folder: Path) -> None:
    """pgBouncer of this machine, which is older, must know most of them; a wrong name would be refused."""
    unknown = {name for name in pgbouncer_options.KNOWN if not is_read(folder, name, example(name))}
    newer = """
        auth_dbname auth_ident_file auth_ldap_options cancel_wait_timeout client_tls13_ciphers
        max_db_client_connections max_prepared_statements max_user_client_connections peer_id
        query_wait_notify scram_iterations server_tls13_ciphers track_extra_parameters transaction_timeout
    """
    assert unknown <= set(newer.split())


def example(name: str) -> str:
    words = {"auth_type": "md5", "pool_mode": "session"}
    return words.get(name, "require" if name.endswith("sslmode") else "1")


def test_a_mistyped_name_is_refused_with_the_right_one() -> None:
    with pytest.raises(InvalidSpec, match="did you mean default_pool_size") as refused:
        pgbouncer_options.check({"defualt_pool_size": "20"})
    assert refused.value.reason == "PGBouncerOptionRefused"


def test_a_value_with_a_line_break_adds_no_setting() -> None:
    assert not is_let_through("job_name", "x\nserver_tls_sslmode = disable")
