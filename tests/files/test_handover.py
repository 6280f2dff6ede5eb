"""WAL that is not archived when the primary changes."""

from pathlib import Path

import pytest

from tests.files.test_backup_scripts import program, run


@pytest.fixture
def wal(tmp_path: Path) -> Path:
    """A write-ahead log of a standby."""
    folder = tmp_path / "pgdata" / "pg_wal"
    (folder / "archive_status").mkdir(parents=True)
    return folder


def promote(wal: Path, reached: str = "") -> int:
    """Run the script; `reached` is the server's replay position."""
    program(wal.parents[1], "psql", f"echo '{reached}'")
    return run("pre-promote.sh", folder=wal.parents[1], PGDATA=str(wal.parent)).returncode


def archived(wal: Path, *names: str) -> None:
    for name in names:
        with (wal / name).open("wb") as file:
            file.truncate(16 << 20 if len(name) == 24 else 0)
        (wal / f"archive_status/{name}.done").touch()


def ready(wal: Path) -> list[str]:
    return sorted(path.stem for path in (wal / "archive_status").glob("*.ready"))


def test_what_a_standby_has_is_archived_when_it_leads(wal: Path) -> None:
    archived(wal, "000000010000000000000003", "000000010000000000000004", "00000001.history")
    (wal / "archive_status/000000010000000000000002.done").touch()  # the segment has gone
    (wal / "000000010000000000000005").touch()
    (wal / "archive_status/000000010000000000000005.ready").touch()
    assert promote(wal, "0/5000000") == 0
    assert sorted(path.name for path in (wal / "archive_status").iterdir()) == [
        "00000001.history.done",
        "000000010000000000000002.done",
        "000000010000000000000003.ready",
        "000000010000000000000004.ready",
        "000000010000000000000005.ready",
    ]
    assert promote(wal, "0/5000000") == 0


@pytest.mark.parametrize(("reached", "last"), [("0/6000000", 5), ("0/5FFFFF8", 4), ("0/5000028", 4), ("", 4)])
def test_the_beginning_of_a_segment_is_not_archived_in_its_place(wal: Path, reached: str, last: int) -> None:
    """PostgreSQL marks a partial segment when its upstream ends; the archive may get the complete segment."""
    archived(wal, *(f"00000001000000000000000{n}" for n in (3, 4, 5)))
    assert promote(wal, reached) == 0
    assert ready(wal) == [f"00000001000000000000000{n}" for n in range(3, last + 1)]


def test_what_a_timeline_had_when_it_ended_is_not_archived_as_a_whole(wal: Path) -> None:
    """The segment continues on the next timeline; segments of unknown timelines are not touched."""
    old = [f"0000000{timeline}00000000000000{n}" for timeline, n in ((1, "FE"), (1, "FF"), (2, "FF"))]
    far = ["000000020000000100000000", "000000030000000100000000", "000000030000000100000001"]
    archived(wal, *old, *far, "00000002.history", "00000003.history", "000000040000000100000002")
    (wal / "00000002.history").write_text("1\t0/FF000110\tno recovery target specified\n")
    (wal / "00000004.history").write_text("1\t0/FF000110\tx\n\n2\t1/A0\tx\n")
    assert promote(wal, "1/3000000") == 0
    assert ready(wal) == [old[0], old[2], "000000040000000100000002"]


def test_a_promotion_never_fails_for_it(wal: Path) -> None:
    (wal / "archive_status").rmdir()
    assert promote(wal) == 0
    wal.rmdir()
    assert promote(wal) == 0


def test_what_a_former_primary_has_left_does_not_hold_it_up(tmp_path: Path) -> None:
    def push(path: str, seconds: str = "30") -> int:
        own = {"ARCHIVE_STATE": str(tmp_path / "state"), "PUSH_SECONDS": seconds, "ARCHIVE_PAUSE": "0.1"}
        return run("pgbackrest-push.sh", path, "h", folder=tmp_path, **own).returncode

    def tries() -> int:
        return len((tmp_path / "tries").read_text().splitlines())

    program(tmp_path, "pgbackrest", f"echo try >>{tmp_path}/tries; exec sleep 60")
    assert [push(f"/pgdata/pg17/pg_wal/{n}", "1") for n in range(5)] == [1] * 5
    assert tries() == 1
    program(tmp_path, "pgbackrest", f"echo try >>{tmp_path}/tries")
    assert push("pg_wal/5") == 0, "PostgreSQL is not meant by it"
    (tmp_path / "state/given-up").write_text("0")
    assert push("/pgdata/pg17/pg_wal/6") == 0
    assert tries() == 3


def test_each_repository_is_asked_by_itself_and_a_dead_one_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pgbackrest_instance.conf").write_text(
        "[global]\nrepo1-path=/a\nrepo2-path = /b\nrepo2-type=s3\n"
    )

    def get(repo1: str, repo2: str, seconds: str = "30") -> tuple[int, list[str]]:
        (tmp_path / "asked").unlink(missing_ok=True)
        says = f'case " $* " in *" --repo=1 "*) {repo1} ;; *" --repo=2 "*) {repo2} ;; esac'
        program(tmp_path, "pgbackrest", f'echo "$*" >>{tmp_path}/asked; {says}')
        own = {"GET_SECONDS": seconds, "ARCHIVE_UNREACHABLE": str(marks), "CONFIGURATION": str(tmp_path)}
        done = run("archive-get.sh", "00000002.history", "to", folder=tmp_path, **own)
        asked = (tmp_path / "asked").read_text().splitlines() if (tmp_path / "asked").exists() else []
        assert all(line.endswith("archive-get 00000002.history to") for line in asked)
        return done.returncode, [line.split()[1] for line in asked]

    marks = tmp_path / "marks"
    one, two = "--repo=1", "--repo=2"
    assert get("exit 0", "exit 1") == (0, [one])
    assert get("exit 1", "exit 0") == (0, [one, two])
    assert get("exit 1", "exit 1") == (1, [one, two])
    assert get("exec sleep 60", "exit 1", "5") == (1, [one, two])
    assert get("exit 0", "exit 0") == (0, [two]), "the dead one is left alone"
    assert get("exit 0", "exit 1") == (1, [two])
    assert get("exit 0", "exit 103") == (1, [two])
    assert get("exit 0", "exit 0") == (1, [])
    Path(f"{marks}-1").write_text("0")
    assert get("exit 0", "exit 0") == (0, [one]), "some time later"
