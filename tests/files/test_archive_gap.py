"""Whether the archive leads on after the primary has changed, and who asks; pgBackRest is played."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.files.test_backup_scripts import Archiver, program, run, stanza
from tests.unit.postgres.test_pgbackrest_info import FULL, INCR, STANZA

HISTORY = "1\t0/9000000\tno recovery target specified\n\n2\t1/1000098\tno recovery target specified\n"
# What timeline 3 needs behind a backup that ended in segment 2 of timeline 1. The segment in which a timeline
# ends is completed by the next.
WANTED = [f"0000000100000000{n:08X}" for n in range(3, 9)] + [
    f"0000000200000000{n:08X}" for n in range(9, 256)
]
WANTED.append("000000020000000100000000")


class Repository:
    """What pgBackRest finds in repository 1."""

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
    assert repository.gap("4")[0] == 3, "the archive does not have that timeline"
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
    repository.say(stanza(FULL))
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
    # It was looked at; what a later look would find is not asked for.
    repository.hold(*WANTED)
    archiver.push_as_is("pg_wal/000000030000000100000002")
    assert archiver.archived("000000030000000100000002")["gaps"] == [gap]


def test_a_repository_that_does_not_answer_is_looked_at_again(repository: Repository, tmp_path: Path) -> None:
    archiver = Archiver(tmp_path)
    repository.say(json.dumps([STANZA | {"backup": [FULL]}], separators=(",", ":")))
    (tmp_path / "archive").unlink()
    archiver.push_as_is("pg_wal/000000030000000100000001")
    assert "gaps" not in archiver.archived("000000030000000100000001")
    repository.hold(*WANTED[1:])
    archiver.push_as_is("pg_wal/000000030000000100000002")
    (gap,) = archiver.archived("000000030000000100000002")["gaps"]
    assert gap["wal"] == WANTED[0]
