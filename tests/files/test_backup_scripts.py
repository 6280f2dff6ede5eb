"""The scripts of backups and of the archive, run with a scripted pgBackRest."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from reconcilers.pgbackup import report
from tests.support import scripts
from tests.unit.postgres.test_pgbackrest_info import FULL, INCR, STANZA

SCRIPTS = scripts.folder()
SYSTEM = STANZA["db"][0]["system-id"]
OWNER = f"team/cluster1/u-c/{SYSTEM}"
MARK_FILE = f"namespace=team\nname=cluster1\nuid=u-c\nsystem-identifier={SYSTEM}"
MARK = {"annotation": {"percona.com/backup-name": 'a "name"', "percona.com/backup-uid": "u-1"}}


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def run(script: str, *arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script; programs in `folder` come first."""
    (folder / "config-hash").write_text("h")
    own = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "TERMINATION_LOG": str(folder / "report"),
        "TMPDIR": str(folder),
        "PGBACKREST_CONF": str(folder),
        "MOUNT_SECONDS": "1",
    }
    return subprocess.run(
        ["bash", str(SCRIPTS / script), *arguments],
        env=own | environment,
        capture_output=True,
        text=True,
        timeout=20,
        cwd=folder,
        check=False,
    )


def stanza(*backups: dict[str, Any]) -> str:
    return json.dumps([STANZA | {"backup": list(backups)}], separators=(",", ":"))


def info_then_backup(folder: Path, before: str, after: str, backup: str = "exit 0") -> None:
    """A pgBackRest whose repository changes when a backup is taken."""
    (folder / "before").write_text(before)
    (folder / "after").write_text(after)
    program(
        folder,
        "pgbackrest",
        f"""
        case " $* " in *" repo-get "*) echo "{MARK_FILE}"; exit 0 ;; esac
        echo "$*" >>{folder}/calls
        case " $* " in
        *" info "*) if [ -e {folder}/done ]; then cat {folder}/after; else cat {folder}/before; fi ;;
        *" backup "*) touch {folder}/done; {backup} ;;
        esac""",
    )


def test_a_backup_is_reported_with_everything_beside_it(tmp_path: Path) -> None:
    others = [INCR | {"annotation": {}}, {k: v for k, v in FULL.items() if k != "annotation"}]
    mine = FULL | MARK | {"label": "20261121-093000F", "reference": ["x"] * 200}
    info_then_backup(tmp_path, stanza(*others), stanza(*others, mine, INCR))
    done = run("pgbackrest-backup.sh", "h", OWNER, "2", "u-1", "--type=full", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "report").read_text()
    assert len(text) < 4096
    found = report.parse(text)
    assert found.backup.label == "20261121-093000F"
    assert found.backup.repo_delta == FULL["info"]["repository"]["delta"]
    assert found.labels == {FULL["label"], INCR["label"], "20261121-093000F"}
    calls = (tmp_path / "calls").read_text()
    assert "--repo=2" in calls
    assert "--annotation=percona.com/backup-uid=u-1" in calls
    # Options in the configuration must not make a backup succeed that has not all of its WAL.
    assert "--archive-check --online --no-expire-auto backup" in calls


def test_the_space_of_the_repositorys_volume_is_reported(tmp_path: Path) -> None:
    info_then_backup(tmp_path, stanza(FULL | MARK), "")
    (tmp_path / "repositories/repo1").mkdir(parents=True)
    own = {"REPOSITORIES": str(tmp_path / "repositories")}
    for repo, there in (("1", True), ("2", False)):
        assert run("pgbackrest-backup.sh", "h", OWNER, repo, "u-1", folder=tmp_path, **own).returncode == 0
        volume = report.parse((tmp_path / "report").read_text()).volume
        assert (volume is not None) == there
        if volume is not None:
            assert 0 < volume.free_bytes <= volume.capacity_bytes


def test_one_that_is_there_is_not_taken_again(tmp_path: Path) -> None:
    info_then_backup(tmp_path, stanza(FULL | MARK), "")
    assert run("pgbackrest-backup.sh", "h", OWNER, "1", "u-1", folder=tmp_path).returncode == 0
    assert " backup" not in (tmp_path / "calls").read_text().replace("backup-uid", "")


def test_many_labels_are_cut_from_the_newest(tmp_path: Path) -> None:
    many = [
        FULL | {"label": f"20260101-000000F_202{6 + i // 999}{i % 12 + 1:02}{i % 28 + 1:02}-{i:06}I"}
        for i in range(700)
    ]
    many.append(FULL | {"label": "20260101-000000F"})
    info_then_backup(tmp_path, stanza(FULL | MARK, *many), "")
    assert run("pgbackrest-backup.sh", "h", OWNER, "1", "u-1", folder=tmp_path).returncode == 0
    text = (tmp_path / "report").read_text()
    assert len(text) <= 4096
    found = report.parse(text)
    assert not found.complete
    assert found.labels < {m["label"] for m in many} | {FULL["label"]}


def test_a_failure_is_told_in_pgbackrests_words_without_secrets(tmp_path: Path) -> None:
    say = (
        "echo 'P00   INFO: begin'; echo 'P00  ERROR: [055]: no space, s3-key-secret=hunter2'; "
        "echo '            HINT: buy a disk'; echo 'P00   INFO: end'; exit 55"
    )
    info_then_backup(tmp_path, stanza(), stanza(), say)
    done = run("pgbackrest-backup.sh", "h", OWNER, "1", "u-1", folder=tmp_path)
    assert done.returncode == 55
    text = (tmp_path / "report").read_text()
    assert text.splitlines()[0] == "ERROR: [055]: no space, s3-key-secret=<redacted>"
    assert "HINT: buy a disk" in text
    assert "INFO" not in text


FORBIDDEN = """\
P00  ERROR: [039]: repo2: unable to load info file '/x/archive.info':
            ProtocolError: HTTP request failed with 403 (Forbidden):
            *** Path/Query ***:
            GET /b/x/backup.info
            *** Request Headers ***:
            authorization: AWS4-HMAC-SHA256 Credential=AKIA/2026
            x-amz-date: 20261128T025345Z
            *** Response Content ***:
            <?xml version='1.0'?>
            <Error><Code>InvalidAccessKeyId</Code><Message>No such key</Message><KeyId>AKIA</KeyId></Error>
            repo3: [FileOpenError] no way
            HINT: is secret=hunter2 right?
P00   INFO: stanza-create command end: aborted with exception [039]
"""


def test_a_stanza_that_cannot_be_made_is_told_on_standard_error(tmp_path: Path) -> None:
    """pgBackRest prints the error on standard output, with the whole request and response of the store."""
    (tmp_path / "says").write_text(FORBIDDEN)
    program(
        tmp_path,
        "pgbackrest",
        f"""case " $* " in
        *" repo-get "*) echo "{MARK_FILE}"; exit 0 ;;
        *" info "*) echo '{json.dumps([STANZA], separators=(",", ":"))}'; exit 0 ;;
        esac
        echo "$*" >>{tmp_path}/calls; cat {tmp_path}/says; exit 39""",
    )
    done = run("pgbackrest-claim.sh", "h", OWNER, "1:new", folder=tmp_path)
    assert done.returncode == 39
    assert [line.strip() for line in done.stderr.splitlines()] == [
        "ERROR: [039]: repo2: unable to load info file '/x/archive.info':",
        "ProtocolError: HTTP request failed with 403 (Forbidden):",
        "InvalidAccessKeyId (No such key)",
        "repo3: [FileOpenError] no way",
        "HINT: is secret=<redacted> right?",
    ]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [line.rpartition(" ")[2] for line in calls] == ["stanza-create", "stanza-upgrade"]
    assert all("--lock-path=" in line for line in calls), "a push meanwhile would wait in vain for its lock"
    assert run("pgbackrest-claim.sh", "another", OWNER, "1:new", folder=tmp_path).returncode == 75


def test_a_backup_that_is_complete_counts_though_its_expiry_failed(tmp_path: Path) -> None:
    info_then_backup(tmp_path, stanza(), stanza(FULL | MARK), "echo 'P00  ERROR: [104]: expire'; exit 104")
    assert run("pgbackrest-backup.sh", "h", OWNER, "1", "u-1", folder=tmp_path).returncode == 0
    assert report.parse((tmp_path / "report").read_text()).backup.label == FULL["label"]


@pytest.mark.parametrize(
    ("options", "broken", "config", "expires"),
    [
        ((), False, "", True),
        ((), True, "", False),
        (("--no-expire-auto",), False, "", False),
        ((), False, "[global]\nexpire-auto = n\n", False),
        (("--expire-auto",), False, "[global]\nexpire-auto=n\n", True),
    ],
)
def test_older_backups_expire_unless_the_new_one_has_broken_pages(
    tmp_path: Path, options: tuple[str, ...], broken: bool, config: str, expires: bool
) -> None:
    """They may be the last ones without."""
    (tmp_path / "pgbackrest_job.conf").write_text(config)
    info_then_backup(
        tmp_path, stanza(), stanza(FULL | MARK | {"error": broken}, INCR | {"error": not broken})
    )
    retention = "--repo1-retention-full=2"
    done = run("pgbackrest-backup.sh", "h", OWNER, "1", "u-1", *options, retention, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert report.parse((tmp_path / "report").read_text()).backup.error is broken
    calls = (tmp_path / "calls").read_text().splitlines()
    (taken,) = (call for call in calls if call.endswith(" backup"))
    assert "--no-expire-auto" in taken
    expiries = [call for call in calls if call.endswith(" expire")]
    assert len(expiries) == expires
    assert all(retention in call for call in (taken, *expiries))


def test_another_configuration_is_waited_for_and_told(tmp_path: Path) -> None:
    program(tmp_path, "pgbackrest", "exit 0")
    done = run("pgbackrest-backup.sh", "another", OWNER, "1", "u-1", folder=tmp_path)
    assert done.returncode == 75
    assert "was not mounted" in (tmp_path / "report").read_text()


def test_expiry_spares_what_others_build_on(tmp_path: Path) -> None:
    info_then_backup(tmp_path, stanza(FULL, INCR), "")
    done = run("pgbackrest-expire.sh", "h", OWNER, "1", FULL["label"], folder=tmp_path)
    assert done.returncode == 76
    assert "--set" not in (tmp_path / "calls").read_text()
    assert run("pgbackrest-expire.sh", "h", OWNER, "1", INCR["label"], folder=tmp_path).returncode == 0
    assert f"--set={INCR['label']}" in (tmp_path / "calls").read_text()


def test_expiry_spares_an_incremental_backup_that_later_ones_build_on(tmp_path: Path) -> None:
    """pgBackRest would remove them all with it, and end with 0."""
    full, first = FULL["label"], f"{FULL['label']}_20261121-090000I"
    second, third, differential = (
        f"{full}_20261121-{n}0000{kind}" for n, kind in ((10, "I"), (11, "I"), (12, "D"))
    )
    backups = (
        FULL,
        INCR | {"label": first, "prior": full, "reference": [full]},
        # It changed no file since: only its order shows on which one it builds.
        INCR | {"label": second, "prior": first, "reference": [full]},
        INCR | {"label": third, "prior": second, "reference": [full, first, second]},
        INCR | {"label": differential, "prior": full, "reference": [full], "annotation": {"x": third}},
    )
    info_then_backup(tmp_path, stanza(*backups), "")
    for label in (full, first, second):
        assert run("pgbackrest-expire.sh", "h", OWNER, "1", label, folder=tmp_path).returncode == 76
        assert "--set" not in (tmp_path / "calls").read_text()
    for label in (third, differential):
        assert run("pgbackrest-expire.sh", "h", OWNER, "1", label, folder=tmp_path).returncode == 0
        assert f"--set={label}" in (tmp_path / "calls").read_text()


def unreadable() -> str:
    """pgBackRest's answer about an unreadable repository, which has exit status 0."""
    message = (
        "[ProtocolError] HTTP request failed with 403 (Forbidden):\n*** Path/Query ***:\nGET /b/?prefix=x\n"
        "*** Request Headers ***:\nhost: 127.0.0.1\n*** Response Content ***:\n"
        "<?xml version='1.0'?><Error><Code>InvalidAccessKeyId</Code><Message>No such key</Message></Error>"
    )
    status = {"code": 99, "message": message}
    empty = {"archive": [], "backup": [], "name": "db", "repo": [{"key": 1, "status": status}]}
    lock = {"lock": {"backup": {"held": False}}, "message": "other"}
    return json.dumps([empty | {"status": {"code": 99} | lock}], separators=(",", ":"))


@pytest.mark.parametrize(
    ("script", "arguments"),
    [("pgbackrest-backup.sh", ("u-1", "--type=full")), ("pgbackrest-expire.sh", (FULL["label"],))],
)
def test_a_repository_that_cannot_be_read_is_not_an_empty_one(
    tmp_path: Path, script: str, arguments: tuple[str, ...]
) -> None:
    """pgBackRest's expiry also removes dependent backups, whose objects would remain."""
    info_then_backup(tmp_path, unreadable(), unreadable())
    done = run(script, "h", OWNER, "1", *arguments, folder=tmp_path, INVENTORY_PAUSE="0")
    assert done.returncode == 1
    assert [line.strip() for line in (tmp_path / "report").read_text().splitlines()] == [
        "ERROR: repo1 cannot be read: [ProtocolError] HTTP request failed with 403 (Forbidden):",
        "InvalidAccessKeyId (No such key)",
    ]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert all(" info" in call for call in calls)
    assert len(calls) == 3, "a moment's trouble is none"


@pytest.mark.parametrize("status", [0, 1, 55, 82, 103])
def test_the_status_of_a_push_is_that_of_pgbackrest(tmp_path: Path, status: int) -> None:
    """Also when later steps fail: here the folder is not writable, and the API server is down."""
    program(tmp_path, "pgbackrest", f"exit {status}")
    for state in (tmp_path / "state", Path("/proc/none")):
        done = run(
            "pgbackrest-push.sh",
            "pg_wal/1",
            "h",
            folder=tmp_path,
            ARCHIVE_STATE=str(state),
            ARCHIVE_PAUSE="0",
        )
        assert done.returncode == status
        assert done.stdout == ""


def test_the_last_commit_is_told_and_a_quiet_segment_takes_nothing_back(tmp_path: Path) -> None:
    account, state = tmp_path / "account", tmp_path / "state"
    account.mkdir()
    for name in ("token", "namespace", "ca.crt"):
        (account / name).write_text(name)
    program(tmp_path, "pgbackrest", "exit 0")
    line = "rmgr: Transaction len: 46, tx: 7, lsn: 0/1, prev 0/1, desc: COMMIT"
    program(
        tmp_path,
        "pg_waldump",
        f"""case "$2" in */quiet) exit 1 ;; esac
        echo "{line} 2026-11-21 09:21:26.393443 UTC; inval msgs: catcache 80"
        echo "{line} 2026-11-21 09:21:27.5 UTC"
        echo "pg_waldump: error: invalid record" >&2; exit 1""",
    )
    program(tmp_path, "curl", f'printf "%s\\n" "$@" >>{tmp_path}/told')
    own = {"ARCHIVE_STATE": str(state), "ARCHIVE_PAUSE": "0.2", "SERVICE_ACCOUNT": str(account)}
    for segment in ("busy", "quiet"):
        assert run("pgbackrest-push.sh", segment, "h", folder=tmp_path, **own, HOSTNAME="p-0").returncode == 0
        end = time.monotonic() + 10
        while time.monotonic() < end and f'wal\\":\\"{segment}' not in _read(tmp_path / "told"):
            time.sleep(0.05)
        data = [line for line in _read(tmp_path / "told").splitlines() if line.startswith("{")][-1]
        found = json.loads(json.loads(data)["metadata"]["annotations"]["pgv2.percona.com/archived"])
        assert found["wal"] == segment
        assert found["commit"] == "2026-11-21T09:21:27.5+00:00"
        assert found["pushed"].endswith("Z")
    assert "/api/v1/namespaces/namespace/pods/p-0" in _read(tmp_path / "told")
    assert "Bearer token" not in _read(tmp_path / "told"), "the token would be in the list of processes"


class Archiver:
    """A member's archiver with a scripted pgBackRest and recorded requests to the API server."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder / "state"
        account = folder / "account"
        account.mkdir()
        for name in ("token", "namespace", "ca.crt"):
            (account / name).write_text(name)
        program(folder, "pg_waldump", "exit 1")
        program(folder, "curl", f'printf "%s\\n" "$@" | grep annotations >>{folder}/told')

    repositories = "h"
    """The digest of the confirmed repositories; that of the mounted ones is `h`."""

    def push(self, says: str = "", status: int = 0) -> None:
        (self.folder / "says").write_text(says)
        program(self.folder, "pgbackrest", f"cat {self.folder}/says; exit {status}")
        self.push_as_is("pg_wal/1E", status)

    def push_as_is(self, path: str, status: int = 0) -> None:
        """Push a segment with the current pgBackRest."""
        own = {
            "ARCHIVE_STATE": str(self.state),
            "ARCHIVE_PAUSE": "0.1",
            "SERVICE_ACCOUNT": str(self.folder / "account"),
            "HOSTNAME": "p-0",
        }
        assert (
            run("pgbackrest-push.sh", path, self.repositories, folder=self.folder, **own).returncode == status
        )

    def archived(self, wal: str) -> dict[str, Any]:
        """Wait until this push was reported; return the report."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            for line in _read(self.folder / "told").splitlines():
                text = json.loads(line)["metadata"]["annotations"].get("pgv2.percona.com/archived", "{}")
                found: dict[str, Any] = json.loads(text)
                if found.get("wal") == wal:
                    return found
            time.sleep(0.05)
        pytest.fail(f"{wal} was not told")

    def told(self, count: int) -> list[str | None]:
        """Wait until failures were reported so many times, and a moment longer."""
        end = time.monotonic() + 10
        while time.monotonic() < end and _read(self.folder / "told").count("archive-failure") < count:
            time.sleep(0.05)
        time.sleep(0.3)
        found = []
        for line in _read(self.folder / "told").splitlines():
            annotations = json.loads(line)["metadata"]["annotations"]
            if "pgv2.percona.com/archive-failure" in annotations:
                found.append(annotations["pgv2.percona.com/archive-failure"])
        return found


def test_a_failing_archive_is_told_once_and_its_end_too(tmp_path: Path) -> None:
    archiver = Archiver(tmp_path)
    late = "ERROR: [082]: unable to push WAL file '1E' to the archive asynchronously after 60 second(s)\n"
    denied = (
        "2026-11-25 10:00:00.000 P00  ERROR: [103]: archive-push command encountered error(s):\n"
        "            repo2: [ProtocolError] HTTP request failed with 403 (Forbidden), key-secret=hunter2:\n"
        '            *** Request Headers ***:\n            authorization: "a\\b"\n'
        "            ProtocolError: HTTP request failed with 403 (Forbidden):\n"
        "            HINT: has a stanza-create been performed?\n"
        "                [ProtocolError] on 3 retries from 1-15ms: HTTP request failed\n"
    )
    archiver.push(late, 82)
    assert archiver.told(0) == [], "one failure is not worth a word"
    archiver.push(late, 82)
    (first,) = archiver.told(1)
    assert first is not None
    assert json.loads(first)["cause"].startswith("[082]: unable to push WAL file")
    for _ in range(2):
        archiver.push(denied, 103)
    archiver.push(late, 82)
    _, second = archiver.told(2)
    assert second is not None
    cause = json.loads(second)["cause"]
    assert cause.startswith("[103]: archive-push command encountered error(s): repo2: [ProtocolError]")
    assert cause.endswith("ProtocolError: HTTP request failed with 403 (Forbidden):")
    for secret in ("hunter2", "authorization"):
        assert secret not in cause
    assert json.loads(second)["since"] == json.loads(first)["since"]
    archiver.push()
    archiver.push()
    assert archiver.told(3)[2:] == [None]
    archiver.push("killed\n", 1)
    archiver.push("", 1)
    assert json.loads(archiver.told(4)[3] or "")["cause"] == "pgbackrest archive-push ended with status 1"


def test_nothing_is_pushed_into_repositories_that_may_belong_to_another_cluster(tmp_path: Path) -> None:
    """The failure is reported if it lasts longer than kubelet needs to mount a change."""
    archiver = Archiver(tmp_path)
    program(tmp_path, "pgbackrest", f"echo push >>{tmp_path}/pushed")
    archiver.repositories = "unconfirmed"
    for path in ("pg_wal/1E", "/pgdata/pg17/pg_wal/1E", "pg_wal/1E"):
        archiver.push_as_is(path, 1)
    assert archiver.told(0) == []
    first = archiver.state / "first-failure"
    os.utime(first, (time.time() - 300,) * 2)
    archiver.push_as_is("pg_wal/1E", 1)
    assert "the mounted repositories" in (archiver.told(1)[0] or "")
    assert not (tmp_path / "pushed").exists()
    archiver.repositories = "h"
    archiver.push_as_is("pg_wal/1E")
    assert _read(tmp_path / "pushed") == "push\n"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
