"""Gaps in the archive after a change of the primary, with a stand-in for pgBackRest."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from reconcilers import files
from tests.files.test_backup_scripts import Archiver, program, run, stanza
from tests.support.local_server import wait_for
from tests.unit.postgres.test_pgbackrest_info import FULL, INCR, STANZA

HISTORY = "1\t0/9000000\tno recovery target specified\n\n2\t1/1000098\tno recovery target specified\n"
# The WAL that timeline 3 needs after a backup that ended in segment 2 of timeline 1. The next timeline
# completes the segment in which a timeline ends.
WANTED = [f"0000000100000000{n:08X}" for n in range(3, 9)] + [
    f"0000000200000000{n:08X}" for n in range(9, 256)
]
WANTED.append("000000020000000100000000")


class Repository:
    """The archive in repository 1, as pgBackRest reports it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hold(*WANTED)
        self.say(stanza(FULL))
        (folder / "history").write_text(HISTORY)
        program(
            folder,
            "pgbackrest",
            f"""
            case " $* " in
            *" info "*) cat {folder}/info ;;
            *"/00000003.history "*) cat {folder}/history 2>/dev/null ;;
            *" repo-get "*) exit 1 ;;
            *" repo-ls "*) cat {folder}/archive 2>/dev/null || exit 56 ;;
            *" restore "*) touch {folder}/restored ;;
            esac""",
        )

    def say(self, info: str) -> None:
        (self.folder / "info").write_text(info)

    def hold(self, *segments: str) -> None:
        lines = [f"17-1/{s[:16]}/{s}-{'a' * 40}.gz" for s in reversed(segments)]
        lines += ["17-1/00000003.history", "17-1/0000000100000000/000000010000000100000000.partial-a.gz"]
        (self.folder / "archive").write_text("\n".join(lines))

    def gap(self, timeline: str = "3") -> tuple[int, str]:
        done = run("archive-gap.sh", "1", timeline, folder=self.folder)
        return done.returncode, done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_an_archive_without_a_gap_leads_on(repository: Repository) -> None:
    assert repository.gap()[0] == 0
    for missing in (WANTED[0], WANTED[5], WANTED[6], WANTED[-1]):
        repository.hold(*(s for s in WANTED if s != missing))
        assert repository.gap() == (1, f"{missing} {FULL['label']}")
    repository.hold()
    assert repository.gap() == (1, f"{WANTED[0]} {FULL['label']}")


def test_only_the_newest_backup_counts(repository: Repository) -> None:
    behind = {"archive": {"start": "0000000200000000000000F0", "stop": "0000000200000000000000F0"}}
    newer = INCR | behind | {"lsn": {"start": "0/F0000028", "stop": "0/F0000100"}}
    repository.say(stanza(FULL, newer))
    repository.hold(*WANTED[-16:])
    assert repository.gap()[0] == 0
    repository.hold(*WANTED[:-2])
    assert repository.gap() == (1, f"{WANTED[-2]} {INCR['label']}")


@pytest.mark.parametrize("timeline", ["0", "1"])
def test_without_a_change_of_the_timeline_there_is_nothing_to_miss(
    repository: Repository, timeline: str
) -> None:
    repository.hold()
    assert repository.gap(timeline)[0] == 0


def test_a_backup_that_does_not_lead_to_the_timeline(repository: Repository) -> None:
    after = FULL | {"lsn": {"start": "0/2000028", "stop": "0/9000100"}}
    repository.say(stanza(after | {"archive": FULL["archive"] | {"stop": "000000010000000000000009"}}))
    assert repository.gap()[0] == 3, "it ended after the timeline did"
    other = {"archive": {"start": "000000040000000000000002", "stop": "000000040000000000000002"}}
    repository.say(stanza(FULL | other))
    assert repository.gap()[0] == 3, "it is of a later one"


def test_what_cannot_be_found_out_is_not_taken_for_whole(repository: Repository, tmp_path: Path) -> None:
    odd = {"archive": {"start": "000000010000000000000008", "stop": "000000010000000000000008"}}
    for info in ("", 'nonsense with "label":"20261121-084407F"', stanza(FULL | odd)):
        repository.say(info)
        assert repository.gap()[0] in (2, 4)
    repository.say(stanza())
    assert repository.gap()[0] == 4
    failed = {"status": {"code": 99, "message": "[FileOpenError] unable to open: permission denied"}}
    repository.say(json.dumps([{"name": "db", "backup": []} | failed], separators=(",", ":")))
    code, said = repository.gap()
    assert code == 2, "an error while reading is no empty repository"
    assert "permission denied" in said
    repository.say(stanza(FULL))
    assert repository.gap("4")[0] == 2, "its history may still be archived"
    (tmp_path / "archive").unlink()
    assert repository.gap()[0] == 2
    (tmp_path / "info").unlink()
    assert repository.gap()[0] == 2


def create(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run("replica-create.sh", "1", *options, folder=folder, PGDATA=str(folder / "pgdata"))


def test_a_replica_is_made_from_a_backup_that_leads_to_the_primarys_timeline(
    repository: Repository, tmp_path: Path
) -> None:
    program(tmp_path, "psql", f'echo "$*" >{tmp_path}/asked; echo "77|3|1/2000000|"')
    way = ("--scope=s", "--connstring=user=repl host=p port=5432")
    assert create(tmp_path, *way).returncode == 0
    assert "user=repl host=p port=5432 replication=true" in (tmp_path / "asked").read_text()
    assert (tmp_path / "restored").exists()
    (tmp_path / "restored").unlink()
    repository.hold(*WANTED[1:])
    done = create(tmp_path, *way)
    assert done.returncode == 1
    assert WANTED[0] in done.stderr
    assert create(tmp_path, "--connstring=").returncode == 0, "there is no primary to ask"
    (tmp_path / "restored").unlink()
    program(tmp_path, "psql", "exit 2")
    assert create(tmp_path, *way).returncode == 1
    repository.say(stanza())
    assert create(tmp_path).returncode == 1, "there is no backup"
    assert not (tmp_path / "restored").exists()


def test_a_gap_is_told_with_the_first_segment_of_a_timeline(repository: Repository, tmp_path: Path) -> None:
    archiver = Archiver(tmp_path)
    repos = {"repo": [{"cipher": "none", "key": 1, "status": {"code": 0, "message": "ok"}}]}
    repository.say(json.dumps([STANZA | {"backup": [FULL]} | repos], separators=(",", ":")))
    repository.hold(*WANTED[1:])
    archiver.push_as_is("pg_wal/00000003.history")
    assert "gaps" not in archiver.archived("00000003.history")
    gap = {"repo": 1, "wal": WANTED[0], "after": FULL["label"]}
    archiver.push_as_is("pg_wal/000000030000000100000001")
    assert archiver.archived("000000030000000100000001")["gaps"] == [gap]
    # The check has run; its result does not change afterwards.
    repository.hold(*WANTED)
    archiver.push_as_is("pg_wal/000000030000000100000002")
    assert archiver.archived("000000030000000100000002")["gaps"] == [gap]


def test_a_repository_that_does_not_answer_is_looked_at_again(repository: Repository, tmp_path: Path) -> None:
    archiver = Archiver(tmp_path)
    repository.say(json.dumps([STANZA | {"backup": [FULL]}], separators=(",", ":")))
    (tmp_path / "archive").unlink()
    archiver.push_as_is("pg_wal/000000030000000100000001")
    found = archiver.archived("000000030000000100000001")
    assert "gaps" not in found
    assert found["unknown"] == [1]
    repository.hold(*WANTED[1:])
    archiver.push_as_is("pg_wal/000000030000000100000002")
    found = archiver.archived("000000030000000100000002")
    assert [gap["wal"] for gap in found["gaps"]] == [WANTED[0]]
    assert "unknown" not in found


def test_a_backup_on_another_timeline_is_a_gap(repository: Repository, tmp_path: Path) -> None:
    """After a restore to before it, it does not lead to the present, though no segment is missing."""
    archiver = Archiver(tmp_path)
    after = FULL | {"lsn": {"start": "0/2000028", "stop": "0/9000100"}}
    stop = {"archive": FULL["archive"] | {"stop": "000000010000000000000009"}}
    repository.say(stanza(after | stop))
    archiver.push_as_is("pg_wal/000000030000000100000001")
    gap = {"repo": 1, "wal": "", "after": FULL["label"]}
    assert archiver.archived("000000030000000100000001")["gaps"] == [gap]


def test_segments_of_an_earlier_timeline_do_not_show_a_gap(repository: Repository, tmp_path: Path) -> None:
    """A new primary pushes again what it has of them; the newest backup is on the timeline after that."""
    archiver = Archiver(tmp_path)
    stop = "000000030000000100000001"
    newer = {"archive": {"start": stop, "stop": stop}, "lsn": {"start": "1/1000128", "stop": "1/1000200"}}
    repository.say(stanza(FULL | newer))
    (tmp_path / "pg_wal").mkdir()
    for name in ("00000002.history", "00000003.history"):
        (tmp_path / "pg_wal" / name).write_text(HISTORY)
    assert "gaps" not in push_all(archiver, *WANTED[-2:])
    assert "gaps" not in push_all(archiver, "000000030000000100000002")


def push_all(archiver: Archiver, *names: str) -> dict[str, Any]:
    for name in names:
        archiver.push_as_is(f"pg_wal/{name}")
    return archiver.archived(names[-1])


def test_a_segment_that_was_never_pushed_is_a_gap(repository: Repository, tmp_path: Path) -> None:
    archiver, first = Archiver(tmp_path), "0000000100000000000000FE"
    whole = (first, "0000000100000000000000FF", "00000001.history", "000000010000000100000000", first)
    assert "gaps" not in push_all(archiver, *whole, "000000010000000100000001")
    (gap,) = push_all(archiver, "000000010000000100000004")["gaps"]
    assert gap["wal"] == "000000010000000100000002"
    assert re.fullmatch(r"\d{8}-\d{6}", gap["after"])
    (same,) = push_all(archiver, "000000010000000100000005")["gaps"]
    assert same == gap, "a backup after it ends the gap"
    # What another timeline lacks, the search of `archive-gap.sh` finds.
    assert push_all(archiver, "000000030000000100000009")["gaps"] == [gap]


def test_an_interrupted_report_is_repeated(repository: Repository, tmp_path: Path) -> None:
    archiver = Archiver(tmp_path)
    push_all(archiver, "000000010000000000000001")
    wait_for("the end of the round", lambda: not (archiver.state / "reporting").exists())
    (archiver.state / "reporting").write_text("/pg_wal/000000010000000000000002\n")
    assert "gaps" not in push_all(archiver, "000000010000000000000003")


def test_wal_that_pgbackrest_drops_is_not_archived(repository: Repository, tmp_path: Path) -> None:
    archiver, pushed = Archiver(tmp_path), "000000010000000000000001"
    push_all(archiver, pushed)
    text, name = (tmp_path / "pgbackrest").read_text(), "000000010000000000000002"
    warning = f"WARN: dropped WAL file '{name}' because archive queue exceeded 32MB"
    program(tmp_path, "pgbackrest", f'echo "{warning}" >&2')
    archiver.push_as_is(f"pg_wal/{name}")
    (told,) = archiver.told(1)
    assert "archive-push-queue-max" in json.loads(told or "")["cause"]
    (tmp_path / "pgbackrest").write_text(text)
    (gap,) = push_all(archiver, "000000010000000000000003")["gaps"]
    assert gap["wal"] == name
    assert archiver.told(2)[1] is None, "WAL is archived again"


@pytest.mark.skipif(shutil.which("pgbackrest") is None, reason="needs pgbackrest")
def test_pgbackrest_says_what_it_drops(tmp_path: Path) -> None:
    """The script relies on the words of the warning, whatever log level the user has chosen."""
    wal = tmp_path / "data/pg_wal"
    (wal / "archive_status").mkdir(parents=True)
    for number in (1, 2, 3):
        with (wal / f"00000001000000000000000{number}").open("wb") as file:
            file.truncate(16 << 20)
        (wal / f"archive_status/00000001000000000000000{number}.ready").touch()
    (tmp_path / "lock").mkdir()
    script = files.read("pgbackrest-push.sh")
    (options,) = re.findall(r"pgbackrest --stanza=db (--log.*) archive-push", script)
    command = f"""pgbackrest --stanza=db --pg1-path={tmp_path}/data --repo1-path={tmp_path}/repo
        --lock-path={tmp_path}/lock --log-level-file=off --log-level-console=off
        --archive-push-queue-max=1MB {options} archive-push {wal}/000000010000000000000001"""
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    assert "dropped WAL file" in done.stdout + done.stderr
