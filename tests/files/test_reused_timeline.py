"""Two servers have promoted to the same timeline, because the archive was silent: how archiving goes on.

The second one cannot know of the first, whose history file is in no archive that answers. The commands are
those of docs/operations/troubleshooting.md.
"""

import shutil
import subprocess
import time

import pytest

from tests.support.restore_place import Place

FAILED = """
SELECT last_failed_wal FROM pg_stat_archiver
WHERE last_failed_time > last_archived_time OR last_archived_time IS NULL
"""


def switched(place: Place, table: str) -> str:
    """Write, and end the segment; return its name."""
    place.sql(f"CREATE TABLE {table} AS SELECT generate_series(1, 100)")
    return place.sql("SELECT pg_walfile_name(pg_switch_wal())")


def until(place: Place, query: str) -> None:
    for _ in range(300):
        if place.sql(query) == "t":
            return
        time.sleep(0.1)
    pytest.fail(query)


def test_a_segment_of_the_other_server_is_taken_out_of_the_archive(place: Place) -> None:
    assert place.restore("--type=immediate") == 0
    other = place.root / "other"
    subprocess.run(["cp", "-a", place.data, other], check=True)
    place.start()
    lost = switched(place, "lost")
    until(place, f"SELECT last_archived_wal >= '{lost}' FROM pg_stat_archiver")
    place.stop()
    shutil.rmtree(place.data)
    shutil.move(other, place.data)
    place.start()
    try:
        switched(place, "kept_table")
        assert place.sql("SELECT timeline_id FROM pg_control_checkpoint()") == "2", "the same timeline"
        until(place, "SELECT failed_count > 0 FROM pg_stat_archiver")
        assert "[045]" in (place.root / "log").read_text()
        while failed := place.sql(FAILED):
            archive = next((place.root / "repo/archive/db").glob("*-1")).name
            folder = f"archive/db/{archive}/{failed[:16]}"
            names = place.run("pgbackrest", "--stanza=db", "repo-ls", folder).split()
            [name] = [one for one in names if one.startswith(failed)]
            place.run("pgbackrest", "--stanza=db", "repo-rm", f"{folder}/{name}")
            place.sql("SELECT pg_reload_conf()")
            until(place, f"SELECT last_archived_wal >= '{failed}' FROM pg_stat_archiver")
        place.run("pgbackrest", "--stanza=db", "--type=full", "backup")
        wal = switched(place, "after_it")
        until(place, f"SELECT last_archived_wal >= '{wal}' FROM pg_stat_archiver")
    finally:
        place.stop()
    assert place.restore() == 0, (place.root / "restore.log").read_text()[-3000:]
    place.start()
    tables = place.sql("SELECT relname FROM pg_class WHERE relname ~ 'lost|kept_table|after_it'").split()
    place.stop()
    assert sorted(tables) == ["after_it", "kept_table"]
