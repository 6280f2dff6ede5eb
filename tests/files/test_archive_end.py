"""archive-end.sh on a real archive: when the last transaction of a timeline ended."""

import subprocess
from datetime import datetime

from tests.support import scripts
from tests.support.restore_place import Place, instead, segments


def end(place: Place, timeline: int, archive: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    archive = archive or next((place.root / "repo/archive/db").glob("*-1")).name
    return subprocess.run(
        ["bash", str(scripts.folder() / "archive-end.sh"), "1", archive, str(timeline)],
        env=place.environment(**more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=place.root,
    )


def moment(place: Place, timeline: int) -> datetime | None:
    done = end(place, timeline)
    assert done.returncode == 0, done.stderr
    return datetime.fromisoformat(done.stdout.strip()) if done.stdout.strip() else None


def start(place: Place) -> None:
    """Start the server, which then knows when a transaction was committed."""
    with (place.data / "postgresql.conf").open("a") as config:
        config.write("track_commit_timestamp = on\ntimezone = 'Asia/Kolkata'\n")
    place.start()


def committed(place: Place, text: str) -> datetime:
    place.sql(text)
    return datetime.fromisoformat(place.sql("SELECT timestamp FROM pg_last_committed_xact()"))


def test_the_last_transaction_of_each_timeline(place: Place) -> None:
    start(place)
    first = committed(place, "INSERT INTO kept VALUES (1)")
    place.sql("SELECT pg_switch_wal()")
    place.stop()
    assert moment(place, 1) == first
    assert place.restore("--type=immediate") == 0
    assert moment(place, 2) is None, "nothing is archived of it yet"
    start(place)
    second = committed(place, "INSERT INTO kept VALUES (2)")
    # Segments behind the last transaction have none.
    place.sql("SELECT pg_switch_wal()")
    place.sql("CHECKPOINT; SELECT pg_switch_wal()")
    place.stop()
    assert (moment(place, 1), moment(place, 2)) == (first, second)


def test_a_transaction_that_was_rolled_back_counts(place: Place) -> None:
    """PostgreSQL ends recovery at it, too."""
    before = moment(place, 1)
    place.start()
    place.sql("BEGIN; CREATE TABLE gone (n int); ROLLBACK")
    place.sql("SELECT pg_switch_wal()")
    place.stop()
    after = moment(place, 1)
    assert before is not None
    assert after is not None
    assert before < after


def test_what_cannot_be_read_is_unknown(place: Place) -> None:
    assert end(place, 1, PATH=instead(place, "exit 82")).returncode == 1
    segments(place)[-1].write_bytes(b"broken")
    assert end(place, 1).returncode == 1
    assert end(place, 7).stdout == ""
