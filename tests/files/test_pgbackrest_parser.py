"""pgBackRest itself parses our configuration, also for stores that no test can reach."""

import base64
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pgoperator.postgres import pgbackrest
from pgoperator.postgres.pgbackrest import Repo
from reconcilers import files

PROGRAM = shutil.which("pgbackrest")
KEY = base64.b64encode(b"a key").decode()
LOCAL = {"repo1-storage-host": "127.0.0.1", "repo1-storage-port": "1", "io-timeout": "0.1"}
STORES = {
    "azure": (
        Repo("repo1", "azure", {"container": "c"}),
        LOCAL | {"repo1-azure-account": "a", "repo1-azure-key": KEY},
    ),
    "s3": (
        Repo("repo1", "s3", {"bucket": "b", "endpoint": "e", "region": "r"}),
        LOCAL | {"repo1-s3-key": "k", "repo1-s3-key-secret": "s", "repo1-s3-uri-style": "path"},
    ),
    "gcs": (
        Repo("repo1", "gcs", {"bucket": "b"}),
        {
            "repo1-gcs-endpoint": "127.0.0.1:1",
            "repo1-gcs-key-type": "token",
            "repo1-gcs-key": "t",
            "io-timeout": "0.1",
        },
    ),
}
# pgBackRest's exit statuses for an unreadable configuration: assertion, format, options.
UNREADABLE = {25, 27, 29, 30, 31, 32, 33, 34, 36, 37, 38}


@pytest.mark.skipif(PROGRAM is None, reason="needs pgbackrest")
@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("side", ["instance", "repository"])
def test_the_configuration_is_accepted(tmp_path: Path, store: str, side: str) -> None:
    repo, options = STORES[store]
    logs = {"log-path": str(tmp_path), "lock-path": str(tmp_path)}
    overrides = options | {"compress-type": "zst", "repo1-cipher-type": "aes-256-cbc", "repo1-block": "y"}
    if side == "instance":
        text = pgbackrest.instance_conf(
            repos=[repo], repo_host=None, pg_path="/p", pg_port=5432, overrides=overrides
        )
    else:
        text = pgbackrest.repo_conf(repos=[repo], hosts=[("h", 5432, "/p")], overrides=overrides)
    (tmp_path / "c.conf").write_text(text, encoding="utf-8")
    more = [f"--{name}={value}" for name, value in logs.items() if name == "lock-path" or side == "instance"]
    command = [str(PROGRAM), f"--config={tmp_path}/c.conf", "--stanza=db", "--repo=1", "info", *more]
    done = subprocess.run(
        command,
        env={"PGBACKREST_REPO1_CIPHER_PASS": "x"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said = done.stdout + done.stderr
    assert done.returncode not in UNREADABLE, said
    assert "invalid" not in said, said


@pytest.mark.skipif(PROGRAM is None, reason="needs pgbackrest")
@pytest.mark.parametrize(
    "words", [("--output=json", "info"), ("repo-get", "archive/db/x"), ("--recurse", "repo-ls", "archive/db")]
)
def test_what_the_search_for_gaps_asks_is_accepted(tmp_path: Path, words: tuple[str, ...]) -> None:
    """With the members' configuration: its timeouts must fit those of the command."""
    script = files.read("archive-gap.sh")
    (options,) = re.findall(r'pgbackrest --stanza=db "--repo=\$repo" (.*) "\$@"', script)
    volume, path = Repo("repo1", "volume"), {"repo1-path": str(tmp_path)}
    text = pgbackrest.instance_conf(
        repos=[volume], repo_host=None, pg_path="/p", pg_port=5432, overrides=path
    )
    (tmp_path / "c.conf").write_text(text, encoding="utf-8")
    command = [
        str(PROGRAM),
        f"--config={tmp_path}/c.conf",
        "--stanza=db",
        "--repo=1",
        *options.split(),
        *words,
    ]
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
    assert done.returncode not in UNREADABLE, done.stdout + done.stderr


@pytest.mark.skipif(PROGRAM is None, reason="needs pgbackrest")
def test_the_configuration_cannot_switch_the_checks_of_a_backup_off(tmp_path: Path) -> None:
    """The words of the script win, and pgBackRest accepts them."""
    (words,) = re.findall(
        r'"\$\{options\[@\]\}" (.*) \\\n *(.*) backup$', files.read("pgbackrest-backup.sh"), re.MULTILINE
    )
    (tmp_path / "c.conf").write_text(
        f"[global]\nonline=n\narchive-check=n\nlog-path={tmp_path}\nlock-path={tmp_path}\n"
        f"repo1-path={tmp_path}\nrepo1-retention-full=2\n[db]\npg1-path={tmp_path}\n"
    )
    command = [
        str(PROGRAM),
        f"--config={tmp_path}/c.conf",
        "--stanza=db",
        "--repo=1",
        *" ".join(words).split(),
    ]
    command += ["--log-level-console=debug", "backup"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    said = done.stdout + done.stderr
    assert done.returncode not in UNREADABLE, said
    (begun,) = [line for line in said.splitlines() if "backup command begin" in line]
    assert " --archive-check " in begun
    assert " --online " in begun
    assert "--no-online" not in begun
