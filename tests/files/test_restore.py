"""restore.sh on a real PostgreSQL and a real pgBackRest: killed at any moment, refused, undone."""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from reconcilers.pgrestore import decide_check
from tests.support.restore_place import ID, Place, instead, segments

MOMENTS = [
    pytest.param(moment, marks=[pytest.mark.long] if moment in {0.05, 0.4, 1.0} else [])
    for moment in (0.05, 0.2, 0.4, 0.7, 1.0, 1.4)
]


def test_to_the_end_of_the_archive(place: Place) -> None:
    assert place.restore() == 0, (place.root / "restore.log").read_text()
    assert place.message().startswith("restored: timeline 2")
    assert place.leftovers() == [f"pg_before_{ID}"]
    assert place.rows() == 25
    auto = (place.data / "postgresql.auto.conf").read_text()
    assert "restore_command" not in auto
    assert "recovery_target" not in auto
    # The first WAL of the new timeline waits for the cluster's own archiving.
    assert place.run("bash", "-c", f"ls {place.root}/repo/archive/db/*/ -R | grep -c 00000002.history") == "1"


def write_unarchived(place: Place, *, killed: bool = False) -> None:
    """Commit five rows more in two segments that no archiver has pushed when the server ends."""
    place.start()
    place.sql("ALTER SYSTEM SET archive_command = 'false'")
    place.sql("SELECT pg_reload_conf()")
    place.sql("INSERT INTO kept SELECT generate_series(1, 2)")
    place.sql("SELECT pg_switch_wal()")
    place.sql("INSERT INTO kept SELECT generate_series(1, 3)")
    if killed:
        place.run("pg_ctl", "-w", "-m", "immediate", "-D", str(place.data), "stop")
    else:
        place.stop()


def archive_rest(place: Place, *options: str, **more: str) -> None:
    assert place.restore(*options, **more) == 0, (place.root / "restore.log").read_text()
    assert place.rows() == 30


@pytest.mark.parametrize("options", [(), ("--delta",)])
@pytest.mark.parametrize("killed", [False, True])
def test_what_was_not_archived_at_the_stop_is_archived(
    place: Place, options: tuple[str, ...], killed: bool
) -> None:
    write_unarchived(place, killed=killed)
    archive_rest(place, *options, FORMER_WAL="required")


def test_crash_recovery_alone_does_not_end_the_last_segment(place: Place) -> None:
    """A server that is killed at the end of crash recovery leaves the state of a clean stop."""
    write_unarchived(place, killed=True)
    # Neither does a clean stop without archiving, which keeps the segments here.
    without = ("-c", "archive_mode=off", "-c", "wal_keep_size=1GB")
    place.run("postgres", "--single", "-D", str(place.data), *without, "postgres")
    assert "shut down" in place.run("bash", "-c", f"pg_controldata {place.data} | grep cluster.state")
    archive_rest(place, FORMER_WAL="required")


@pytest.mark.parametrize("options", [(), ("--delta",)])
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while_the_rest_is_archived(place: Place, options: tuple[str, ...], moment: float) -> None:
    write_unarchived(place, killed=True)
    first = place.begin(*options, FORMER_WAL="required")
    time.sleep(moment)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait(10)
    archive_rest(place, *options, FORMER_WAL="required")


def without_pushes(place: Place, count: int = 99) -> str:
    """A search path with a pgBackRest that refuses so many pushes."""
    tried = place.root / "tried"
    tried.unlink(missing_ok=True)
    return instead(
        place,
        f"if [[ $* = *archive-push* ]]; then echo >>{tried}\n"
        f'if [ "$(wc -l <{tried})" -le {count} ]; then echo "ERROR: [049]: no answer"; exit 49; fi; fi\n'
        'exec /usr/bin/pgbackrest "$@"',
    )


@pytest.mark.parametrize("options", [(), ("--delta",)])
def test_the_former_data_stays_if_it_has_more_than_the_archive(
    place: Place, options: tuple[str, ...]
) -> None:
    write_unarchived(place)
    said = refused(place, *options, FORMER_WAL="required", PUSH_SECONDS="1", PATH=without_pushes(place))
    assert (
        "repo1 lacks WAL up to the end of the former data: 2 files of WAL cannot be archived, from " in said
    )
    assert "[049]: no answer" in said
    assert place.rows() == 30


def test_a_passing_fault_while_the_rest_is_archived(place: Place) -> None:
    write_unarchived(place)
    archive_rest(place, FORMER_WAL="required", PATH=without_pushes(place, 2))


def test_another_repository_that_does_not_answer_loses_nothing(place: Place) -> None:
    """The push fails, but the repository of the restore has the segment; the other still waits for it."""
    write_unarchived(place)
    path = instead(
        place,
        'if [[ $* = *archive-push* ]]; then /usr/bin/pgbackrest "$@"; echo "ERROR: [104]"; exit 104; fi\n'
        'exec /usr/bin/pgbackrest "$@"',
    )
    archive_rest(place, FORMER_WAL="required", PATH=path)
    former = place.data.with_name(f"pg_before_{ID}")
    assert len(list((former / "pg_wal/archive_status").glob("*.ready"))) == 2


def test_wal_that_pgbackrest_would_drop_is_archived(place: Place) -> None:
    write_unarchived(place)
    config = place.root / "pgbackrest.conf"
    before = config.read_text()
    config.write_text(before.replace("[global]\n", "[global]\narchive-push-queue-max=1MB\n"))
    try:
        archive_rest(place, FORMER_WAL="required")
    finally:
        config.write_text(before)


def test_the_loss_of_the_rest_can_be_accepted(place: Place) -> None:
    write_unarchived(place)
    how = {"FORMER_WAL": "optional", "PUSH_SECONDS": "1", "PATH": without_pushes(place)}
    assert place.restore(**how) == 0, (place.root / "restore.log").read_text()
    assert "WAL may be lost, as accepted: 2 files of WAL" in place.message()
    # As after a pod that was killed at its very end.
    assert place.restore(**how) == 0
    assert place.message().endswith("; WAL may be lost, as accepted\n")
    assert place.rows() == 25


def test_the_data_of_a_replica_is_not_the_end(place: Place) -> None:
    (place.data / "standby.signal").touch()
    assert "is that of a replica" in refused(place, FORMER_WAL="required")
    assert place.restore(FORMER_WAL="optional") == 0
    assert "WAL may be lost, as accepted: the former data is that of a replica" in place.message()


def test_a_volume_without_former_data_is_not_the_end(place: Place) -> None:
    shutil.rmtree(place.data)
    assert place.restore(FORMER_WAL="required") == 1
    assert "the instance has no former data" in place.message()
    assert place.restore(FORMER_WAL="optional") == 0
    assert "WAL may be lost, as accepted: the instance has no former data" in place.message()


def test_the_rest_of_a_log_on_its_own_volume(place: Place, log: Path) -> None:
    write_unarchived(place, killed=True)
    archive_rest(place, FORMER_WAL="required", WAL_DIRECTORY=str(log))


def test_to_a_backup(place: Place) -> None:
    label = (place.root / "repo/backup/db/latest").readlink().name
    assert place.restore("--type=immediate", f"--set={label}") == 0
    assert place.rows() == 10


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_started_again(place: Place, moment: float) -> None:
    first = place.begin()
    time.sleep(moment)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait(10)
    assert place.restore() == 0, (place.root / "restore.log").read_text()
    assert place.restore() == 0
    assert place.leftovers() == [f"pg_before_{ID}"]
    assert place.rows() == 25


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_undone(place: Place, moment: float) -> None:
    before = (place.data / "global/pg_control").read_bytes()
    first = place.begin()
    time.sleep(moment)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait(10)
    assert place.restore("--undo") == 0
    assert place.restore("--undo") == 0
    assert place.leftovers() == []
    assert (place.data / "global/pg_control").read_bytes() == before


def test_undone_after_it_was_complete(place: Place) -> None:
    before = (place.data / "global/pg_control").read_bytes()
    assert place.restore("--type=immediate") == 0
    assert (place.data / "global/pg_control").read_bytes() != before
    assert place.restore("--undo") == 0
    assert (place.data / "global/pg_control").read_bytes() == before
    assert place.leftovers() == []


def test_told_to_stop(place: Place) -> None:
    first = place.begin()
    time.sleep(0.5)
    first.terminate()
    assert first.wait(5) in (0, 143)


def refused(place: Place, *options: str, **more: str) -> str:
    """Assert that it fails permanently with a cause and does not change the former data."""
    before = (place.data / "global/pg_control").read_bytes()
    assert place.restore(*options, **more) == 1
    assert place.leftovers() == []
    assert (place.data / "global/pg_control").read_bytes() == before
    return place.message()


def place_refuses(place: Place, *options: str) -> str:
    """The same, whatever is beside the data."""
    assert place.restore(*options) == 1
    return place.message()


def test_a_segment_that_is_missing(place: Place) -> None:
    *_, hole, last = segments(place)
    hole.unlink()
    said = refused(place, WAL_LAST=last.name[:24])
    assert "a WAL segment is missing in the archive" in said
    assert hole.name[:24] in said


def test_the_end_of_an_archive_that_nobody_knows_is_asked_for(place: Place) -> None:
    """A new cluster from a repository alone: the operator has no host to ask."""
    *_, hole, last = segments(place)
    assert place.restore(FIND_END="yes") == 0, (place.root / "restore.log").read_text()
    assert f"the archive goes on to {last.name[:24]}" in (place.root / "restore.log").read_text()
    hole.unlink()
    shutil.rmtree(place.data)
    assert place.restore(FIND_END="yes") == 1
    assert "a WAL segment is missing in the archive" in place.message()


def test_the_end_is_that_of_the_archive_of_the_backup(place: Place) -> None:
    """A stanza that was upgraded has an archive for each database system."""
    path = instead(place, "")
    wrapper = place.root / "instead/pgbackrest"
    old = (
        r's/"archive":\[{"database":{"id":1,"repo-key":1}/"archive":[{"database":{"id":2,"repo-key":1},"id":'
        r'"99-2","max":"00000005000000FF000000FE","min":"000000010000000000000001"},'
        r'{"database":{"id":1,"repo-key":1}/'
    )
    wrapper.write_text(
        "#!/bin/bash\n"
        f"if [[ \" $* \" = *' info '* ]]; then /usr/bin/pgbackrest \"$@\" | sed '{old}'; exit; fi\n"
        'exec /usr/bin/pgbackrest "$@"\n'
    )
    wrapper.chmod(0o755)
    assert place.restore(FIND_END="yes", PATH=path) == 0, (place.root / "restore.log").read_text()


def test_a_repository_that_does_not_answer_is_not_the_end(place: Place) -> None:
    path = failing(place, "info", 99, "ERROR: [042]: HTTP request failed with 403 (Forbidden)")
    assert "the end of the archive cannot be read" in refused(place, FIND_END="yes", PATH=path)
    path = failing(place, "info", 2, "ERROR: [042]: [ProtocolError]")  # the restore's own call counts
    assert place.restore(FIND_END="yes", PATH=path) == 0, (place.root / "restore.log").read_text()
    assert len(calls(place, "info")) == 2


def test_to_the_latest_restorable_time(place: Place) -> None:
    """The time of the last commit in the archive: no later one follows, and PostgreSQL waits for it."""
    place.start()
    time.sleep(1.1)  # pgBackRest counts whole seconds
    place.sql("INSERT INTO kept SELECT generate_series(1, 5)")
    segment = place.sql("SELECT pg_walfile_name(pg_switch_wal())")
    dump = place.run(
        "bash", "-c", f"TZ=UTC pg_waldump --rmgr=Transaction {place.data}/pg_wal/{segment}", check=False
    )
    place.stop()
    last = datetime.fromisoformat(re.findall(r"COMMIT (\S+ \S+) UTC", dump)[-1])
    words, later = (
        decide_check.arguments(["--type=time", f"--target={last + timedelta(microseconds=more):%FT%T.%fZ}"])
        for more in (0, 1)
    )
    # What is written after that is not archived.
    for late in segments(place):
        if late.name[:24] > segment:
            late.unlink()
    assert "before configured recovery target was reached" in refused(place, *later)
    assert place.restore(*words) == 0, (place.root / "restore.log").read_text()
    assert place.rows() == 30


def test_a_target_that_is_never_reached(place: Place) -> None:
    said = refused(place, "--type=lsn", "--target=FF/0")
    assert "recovery ended before configured recovery target was reached" in said


def test_a_target_before_the_end_of_the_backup(place: Place) -> None:
    backup = json.loads(place.run("pgbackrest", "--stanza=db", "--output=json", "info"))[0]["backup"][-1]
    said = refused(place, "--type=lsn", f"--target={backup['lsn']['start']}", f"--set={backup['label']}")
    assert "before consistent recovery point" in said
    assert "name an earlier one with --set" in said


def test_a_segment_that_cannot_be_read_is_not_the_end(place: Place) -> None:
    last = segments(place)[-1]
    last.write_bytes(b"garbage")
    said = refused(place)
    assert said.startswith("recovery:")
    assert re.search(rf"{last.name}.* \[FormatError\]", said), said


def test_a_backup_that_cannot_be_read(place: Place) -> None:
    for path in (place.root / "repo/backup/db/latest/").rglob("*.lz4"):
        if "manifest" not in path.name and path.stat().st_size > 4000:
            path.write_bytes(b"garbage")
    assert "pgbackrest restore: " in refused(place)


def failing(place: Place, command: str, count: int, error: str, before: str = "") -> str:
    """A search path with a pgBackRest of which so many calls of a command fail; `before` runs before that."""
    calls = place.root / "calls"
    calls.unlink(missing_ok=True)
    code = int(error.split("[", 1)[1][:3])
    return instead(
        place,
        f'echo "$*" >>{calls}\n'
        f'if [[ " $* " = *" {command} "* && $(grep -c -- "{command}" {calls}) -le {count} ]]; then\n'
        f'{before}\necho "{error}" >&2; exit {code}; fi\nexec /usr/bin/pgbackrest "$@"',
    )


def calls(place: Place, command: str) -> list[str]:
    lines = (place.root / "calls").read_text().splitlines()
    return [line for line in lines if f" {command} " in f" {line} "]


@pytest.mark.parametrize("options", [("--no-delta",), ("--delta",)])
def test_a_passing_fault_of_the_fetch_costs_nothing_that_was_fetched(
    place: Place, options: tuple[str, ...]
) -> None:
    half = '/usr/bin/pgbackrest "$@"; rm $new/global/pg_control $new/postgresql.conf; touch $new/base/kept'
    path = failing(place, "restore", 2, "ERROR: [049]: unable to connect", half)
    assert place.restore(*options, PATH=path) == 0, (place.root / "restore.log").read_text()
    first, *again = calls(place, "restore")
    assert ("--delta" in first.split()) is (options == ("--delta",))
    assert len(again) == 2
    assert all("--delta" in call.split() and "--no-delta" not in call for call in again)
    assert place.rows() == 25


def test_a_passing_fault_of_recovery_continues_where_it_was(place: Place) -> None:
    path = failing(place, f"archive-get {segments(place)[-1].name[:24]}", 2, "ERROR: [066]: timeout")
    assert place.restore(PATH=path) == 0, (place.root / "restore.log").read_text()
    assert len(calls(place, "restore")) == 1
    assert "the repository has failed (2 times)" in (place.root / "restore.log").read_text()
    assert place.rows() == 25


@pytest.mark.parametrize("command", ["restore", "archive-get"])
@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        # No fault of the network.
        ("ERROR: [029]: FormatError", "600"),
        # The object store will refuse it again.
        ("ERROR: [039]: HTTP request failed with 403 (Forbidden)", "600"),
        # It has lasted too long.
        ("ERROR: [049]: unable to connect", "1"),
    ],
)
def test_other_faults_are_final(place: Place, command: str, error: str, seconds: str) -> None:
    refused(place, PATH=failing(place, command, 99, error), RETRY_SECONDS=seconds)
    assert len(calls(place, command)) == (2 if seconds == "1" else 1)


def test_what_cannot_be_removed_at_once_is_removed_a_moment_later(place: Place) -> None:
    """As when a process of the failed server still writes."""
    tool, tried = place.root / "tools/rm", place.root / "tried"
    tool.parent.mkdir()
    # The third call removes the restored data.
    tool.write_text(f'#!/bin/bash\necho >>{tried}\n[ "$(wc -l <{tried})" != 3 ] && exec /usr/bin/rm "$@"\n')
    tool.chmod(0o755)
    path = f"{tool.parent}:{place.environment()['PATH']}"
    assert "20200101-000000F is not valid" in refused(place, "--set=20200101-000000F", PATH=path)
    assert tried.read_text().count("\n") > 3


def test_a_backup_that_is_not_there(place: Place) -> None:
    assert "20200101-000000F is not valid" in refused(place, "--set=20200101-000000F")


def test_another_major_version(place: Place) -> None:
    assert "spec.postgresVersion is 9" in refused(place, PGVERSION="9")


def test_over_the_former_data(place: Place) -> None:
    for _ in range(2):
        assert place.restore("--delta") == 0, (place.root / "restore.log").read_text()
        assert place.leftovers() == ["pg_unfinished"]
    assert place.rows() == 25
    # Not the former data: the instance must not lead with it.
    assert place.restore("--undo") == 3


@pytest.mark.parametrize("own_volume", [False, True])
def test_over_the_former_data_refused_before_the_first_byte(place: Place, own_volume: bool) -> None:
    more = {}
    if own_volume:
        log = move_log(place, place.root / "wal/pg_wal")
        more = {"WAL_DIRECTORY": str(log)}
    try:
        assert "not valid" in refused(place, "--delta", "--set=20200101-000000F", **more)
        assert "[031]" in refused(place, "--delta", "--proces-max=4", **more)
        # Where tablespaces have volumes, nobody has asked for it.
        place.run("mkdir", "-p", str(place.root / "tablespaces/cold/data"))
        more["TABLESPACES"] = str(place.root / "tablespaces")
        assert "not valid" in refused(place, "--set=20200101-000000F", **more)
        assert place.rows() == 25
    finally:
        shutil.rmtree(place.root / "wal", ignore_errors=True)
        shutil.rmtree(place.root / "tablespaces", ignore_errors=True)


def test_over_the_former_data_killed_before_the_first_byte(place: Place) -> None:
    before = (place.data / "global/pg_control").read_bytes()
    for _ in range(2):
        killed = place.begin("--delta", PATH=instead(place, "kill -9 0"))
        killed.wait(20)
        assert place.leftovers() == ["pg_restore", "pg_unfinished"]
    assert place.restore("--undo") == 0
    assert place.leftovers() == []
    assert (place.data / "global/pg_control").read_bytes() == before


@pytest.mark.parametrize("again", [(), ("--delta",)])
def test_over_the_former_data_failed_after_the_first_byte(place: Place, again: tuple[str, ...]) -> None:
    """Worth another try; if it is given up, the instance must not start on what is left."""
    path = instead(place, "rm -f $new/global/pg_control; echo 'ERROR: [042]: no answer'; exit 42")
    assert place.restore("--delta", PATH=path, RETRY_SECONDS="1") == 2
    assert "no answer" in place.message()
    assert "overwritten part of the former data" in place.message()
    for _ in range(2):
        assert place.restore("--undo") == 3
        assert place.leftovers() == ["pg_restore", "pg_unfinished"]
    # The next restore of the cluster does not need it. Until it succeeds, there is nothing to start from.
    assert place.restore(*again, "--set=20200101-000000F", RESTORE_ID="next") in (2, 3)
    assert not place.data.exists()
    assert place.restore("--undo", RESTORE_ID="next") == 3
    assert place.restore(*again, RESTORE_ID="third") == 0, (place.root / "restore.log").read_text()
    assert place.leftovers() == (["pg_unfinished"] if again else [])
    assert place.rows() == 25


def test_over_the_former_data_to_a_target_that_is_never_reached(place: Place) -> None:
    assert place.restore("--delta", "--type=lsn", "--target=FF/0") == 3
    assert "recovery ended before configured recovery target was reached" in place.message()
    assert place.restore("--undo") == 3
    assert not place.data.exists()


@pytest.mark.parametrize("moment", MOMENTS)
def test_over_the_former_data_killed_at_any_moment(place: Place, moment: float) -> None:
    before = (place.data / "global/pg_control").read_bytes()
    first = place.begin("--delta")
    time.sleep(moment)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait(10)
    undone = place.restore("--undo")
    assert undone in (0, 3)
    if undone == 0:
        assert place.leftovers() == []
        assert (place.data / "global/pg_control").read_bytes() == before
    assert place.restore("--delta") == 0, (place.root / "restore.log").read_text()
    assert place.rows() == 25


def test_a_folder_of_no_known_restore_is_kept(place: Place) -> None:
    """As an older version left it: it may be all that there is of the data."""
    place.run("cp", "-a", str(place.data), f"{place.data}_restore")
    assert "not valid" in place_refuses(place, "--set=20200101-000000F")
    (kept,) = place.data.parent.glob("pg_restore_left_*")
    assert (kept / "PG_VERSION").exists()


def test_to_a_time_as_people_write_it(place: Place) -> None:
    """In the form that the check hands on: pgBackRest refuses the user's."""
    place.start()
    time.sleep(1.1)  # pgBackRest counts whole seconds
    moment = place.sql(
        "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    )
    place.sql("INSERT INTO kept SELECT generate_series(1, 5)")
    place.sql("SELECT pg_switch_wal()")
    place.stop()
    assert "[029]" in place_refuses(place, "--type=time", f"--target={moment}")
    words = decide_check.arguments(["--type=time", f"--target={moment}"])
    assert place.restore(*words) == 0, (place.root / "restore.log").read_text()
    assert place.rows() == 25


@pytest.mark.parametrize(("version", "known"), [("12", False), ("14", False), ("15", True), ("18", True)])
def test_the_server_gets_only_parameters_that_its_version_knows(
    place: Place, version: str, known: bool
) -> None:
    """It does not start with another one."""
    path = instead(place, f"mkdir -p $new; echo {version} >$new/PG_VERSION")
    server = place.root / "instead/postgres"
    server.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" >{place.root}/parameters\nexit 1\n')
    server.chmod(0o755)
    assert place.restore(PATH=path, PGVERSION=version) == 1
    given = (place.root / "parameters").read_text() + (place.root / "work/postgresql.conf").read_text()
    assert given.count("archive_library") == (2 if known else 0)
    assert given.count("archive_command") == 2


def test_what_alter_system_left_does_not_count(place: Place) -> None:
    """A target without a zone is UTC; the container's memory is not the database's."""
    place.start()
    place.sql("ALTER SYSTEM SET timezone = 'America/New_York'")
    place.sql("ALTER SYSTEM SET lc_messages = 'C.UTF-8'")
    place.sql("ALTER SYSTEM SET shared_buffers = '1GB'")
    place.run("pgbackrest", "--stanza=db", "--type=full", "backup")
    label = (place.root / "repo/backup/db/latest").readlink().name
    moment = place.sql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')")
    place.sql("INSERT INTO kept SELECT generate_series(1, 5)")
    place.sql("SELECT pg_switch_wal()")
    place.stop()
    done = place.restore("--type=time", f"--target={moment}", f"--set={label}")
    assert done == 0, (place.root / "restore.log").read_text()
    said = (place.root / "work/log").read_text()
    assert "redo done at" in said
    used = (place.root / "work/postgresql.conf").read_text()
    assert "shared_buffers = 128MB" in used
    # They are the cluster's own again.
    auto = place.data / "postgresql.auto.conf"
    assert "America/New_York" in auto.read_text()
    auto.write_text("")
    assert place.rows() == 25


def test_into_an_empty_volume(place: Place) -> None:
    shutil.rmtree(place.data)
    assert place.restore() == 0, (place.root / "restore.log").read_text()
    assert place.leftovers() == []
    assert place.rows() == 25


def test_a_failed_recovery_into_an_empty_volume_has_lost_nothing(place: Place) -> None:
    segments(place)[-1].write_bytes(b"garbage")
    shutil.rmtree(place.data)
    assert place.restore() == 1, (place.root / "restore.log").read_text()
    assert "former data" not in place.message()
    assert place.leftovers() == []


def move_log(place: Place, folder: Path) -> Path:
    """Put the log into a folder on another volume, as `database.sh` does."""
    place.run("mkdir", "-p", str(folder.parent))
    place.run("mv", str(place.data / "pg_wal"), str(folder))
    place.run("ln", "-s", str(folder), str(place.data / "pg_wal"))
    return folder


@pytest.fixture
def log(place: Place) -> Iterator[Path]:
    """The folder of a WAL volume."""
    yield move_log(place, place.root / "wal/pg_wal")
    shutil.rmtree(place.root / "wal")


def test_a_log_on_its_own_volume_goes_with_the_former_data(place: Place, log: Path) -> None:
    before = sorted(path.name for path in log.iterdir())
    for _ in range(2):
        assert place.restore(WAL_DIRECTORY=str(log)) == 0, (place.root / "restore.log").read_text()
    former = place.data.with_name(f"pg_before_{ID}")
    assert sorted(path.name for path in (former / "pg_wal").iterdir()) == before
    assert not log.exists()
    assert not (place.data / "pg_wal").is_symlink()
    move_log(place, log)
    assert place.rows() == 25
    for _ in range(2):
        assert place.restore("--undo", WAL_DIRECTORY=str(log)) == 0
    assert place.leftovers() == []
    assert (place.data / "pg_wal").readlink() == log
    assert sorted(path.name for path in log.iterdir()) == before
    assert [path.name for path in log.parent.iterdir()] == ["pg_wal"]
    assert place.rows() == 25


def test_over_the_former_data_with_a_log_on_its_own_volume(place: Place, log: Path) -> None:
    assert place.restore("--delta", WAL_DIRECTORY=str(log)) == 0, (place.root / "restore.log").read_text()
    assert not (place.data / "pg_wal").is_symlink()
    assert not log.exists()
    assert place.rows() == 25


def test_tablespaces_are_restored_in_their_places(place: Place) -> None:
    folder = place.root / "tablespaces"
    place.run("mkdir", "-p", str(folder / "cold/data"))
    place.start()
    place.sql(f"CREATE TABLESPACE cold LOCATION '{folder}/cold/data'")
    place.sql("CREATE TABLE stored TABLESPACE cold AS SELECT generate_series(1, 7)")
    place.run("pgbackrest", "--stanza=db", "--type=full", "backup")
    place.sql("INSERT INTO stored SELECT 8")
    place.sql("SELECT pg_switch_wal()")
    place.sql("DROP TABLE stored")
    place.stop()
    label = (place.root / "repo/backup/db/latest").readlink().name
    options = ("--type=immediate", f"--set={label}")
    assert place.restore(*options, TABLESPACES=str(folder)) == 0, (place.root / "restore.log").read_text()
    place.start()
    try:
        assert place.sql("SELECT count(*) FROM stored") == "7"
    finally:
        place.stop()
        shutil.rmtree(folder)


def test_one_that_stands_still_ends_and_says_so(place: Place) -> None:
    # Stands for a pgBackRest whose volume hangs: it waits indefinitely.
    silent = place.root / "silent"
    silent.mkdir()
    (silent / "pgbackrest").write_text("#!/bin/bash\nexec tail -f /dev/null\n")
    (silent / "pgbackrest").chmod(0o755)
    before = (place.data / "global/pg_control").read_bytes()
    path = f"{silent}:{place.environment()['PATH']}"
    try:
        first = place.begin(PATH=path, STALL_SECONDS="3")
        assert first.wait(60) == 143
        assert "has stalled" in place.message()
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        shutil.rmtree(silent)
    assert (place.data / "global/pg_control").read_bytes() == before
    # The next run continues from there.
    assert place.restore(STALL_SECONDS="20") == 0, (place.root / "restore.log").read_text()
