"""restore-drill.sh on a real PostgreSQL and pgBackRest: what is whole is proven, what is not is named."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_postgres import binaries
from tests.support.restore_place import Place, segments

SECONDS = 90


def drill(place: Place, *options: str, **more: str) -> int:
    """Run the script on an empty volume; the cluster's own data must stay as it is."""
    scratch = place.root / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    place.run("mkdir", str(scratch))
    before = (place.data / "global/pg_control").read_bytes()
    values = {"PGDATA": str(scratch / "pg"), "SYSTEM_IDENTIFIER": identifier(place)} | more
    kind = () if any(option.startswith("--type=") for option in options) else ("--type=default",)
    status = place.begin(*kind, *options, script="restore-drill.sh", **values).wait(SECONDS)
    if status == 0:
        # Another container, which cannot reach the repository.
        sealed = values | {"PGBACKREST_CONFIG": "/none", "STANZA": "none"}
        status = place.begin(script="restore-check.sh", **sealed).wait(SECONDS)
    assert (place.data / "global/pg_control").read_bytes() == before
    return status


def identifier(place: Place) -> str:
    text = place.run(str(binaries() / "pg_controldata"), str(place.data))
    return re.findall(r"system identifier: +(\d+)", text)[0]


def log(place: Place) -> str:
    return (place.root / "restore.log").read_text()


def newest(place: Place) -> str:
    return (place.root / "repo/backup/db/latest").readlink().name


def test_a_backup_with_all_its_wal_is_proven(place: Place) -> None:
    repository = files(place.root / "repo")
    assert drill(place, f"--set={newest(place)}") == 0, log(place)
    report: dict[str, Any] = json.loads(place.message())
    assert report["systemIdentifier"] == identifier(place)
    assert report["timeline"] == 2
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\+00", report["moment"])
    assert report["bytes"] > 1_000_000
    assert report["restoreSeconds"] > 0
    assert report["checked"] == "tables and B-tree indexes"
    assert files(place.root / "repo") == repository, "a drill writes to no repository"


def test_tablespaces_are_restored_into_the_scratch_volume(place: Place) -> None:
    folder = place.root / "tablespaces"
    place.run("mkdir", "-p", str(folder / "cold"))
    place.start()
    place.sql(f"CREATE TABLESPACE cold LOCATION '{folder}/cold'")
    place.sql("CREATE TABLE stored TABLESPACE cold AS SELECT generate_series(1, 7)")
    place.run("pgbackrest", "--stanza=db", "--type=full", "backup")
    place.sql("SELECT pg_switch_wal()")
    place.stop()
    before = files(folder)
    try:
        status = drill(place, f"--tablespace-map-all={place.root}/scratch/tablespaces")
        assert status == 0, log(place)
        assert files(folder) == before
        assert (place.root / "scratch/tablespaces/cold").is_dir()
    finally:
        shutil.rmtree(folder)


def test_an_event_trigger_does_not_keep_the_checks_from_running(place: Place) -> None:
    """That of pgAudit fails without its library."""
    place.start()
    place.sql(
        "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;"
        'CREATE EVENT TRIGGER "it\'s" ON ddl_command_end EXECUTE FUNCTION refuse()'
    )
    place.sql("SELECT pg_switch_wal()")
    place.stop()
    assert drill(place) == 0, log(place)


def files(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if path.is_file()}


def flipped_data(place: Place) -> tuple[str, ...]:
    """A byte of a file in the backup: pgBackRest does not name a file that it cannot decompress."""
    path, *_ = (place.root / "repo/backup/db/latest/pg_data/base").rglob("1259.lz4")
    flip(path)
    return "invalid checksum", path.name


def flipped_wal(place: Place) -> tuple[str, ...]:
    path = segments(place)[-1]
    flip(path)
    return (path.name[:24],)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def missing_wal(place: Place) -> tuple[str, ...]:
    *_, hole, _ = segments(place)
    hole.unlink()
    return (hole.name[:24],)


def truncated_manifest(place: Place) -> tuple[str, ...]:
    for path in (place.root / "repo/backup/db/latest/").glob("backup.manifest*"):
        path.write_bytes(path.read_bytes()[:200])
    return ("manifest",)


CORRUPTIONS = [flipped_data, flipped_wal, missing_wal, truncated_manifest]


@pytest.mark.parametrize("corrupt", CORRUPTIONS)
def test_a_corruption_is_found_and_named(place: Place, corrupt: Callable[[Place], tuple[str, ...]]) -> None:
    named = corrupt(place)
    assert drill(place) == 1, log(place)
    assert all(name in place.message() for name in named), place.message()


def test_a_wrong_key_is_found_and_named(place: Place) -> None:
    more = {"PGBACKREST_REPO1_CIPHER_TYPE": "aes-256-cbc", "PGBACKREST_REPO1_CIPHER_PASS": "wrong"}
    assert drill(place, **more) == 1, log(place)
    assert "Crypto" in place.message() or "cipher" in place.message()


def test_a_backup_of_another_system_is_found_and_named(place: Place) -> None:
    assert drill(place, SYSTEM_IDENTIFIER="7000000000000000001") == 1, log(place)
    message = place.message()
    assert f"database system {identifier(place)}" in message
    assert "7000000000000000001" in message


def test_an_index_that_contradicts_its_table_is_found_and_named(place: Place) -> None:
    """The backup is whole, and what was backed up is not."""
    place.start()
    place.sql("CREATE TABLE many AS SELECT generate_series(1, 10000) AS n; CREATE INDEX sorted ON many (n)")
    path = place.data / place.sql("CHECKPOINT; SELECT pg_relation_filepath('sorted')").splitlines()[-1]
    place.stop()
    disorder(path)
    place.start()
    place.run("pgbackrest", "--stanza=db", "--type=full", "backup")
    place.sql("SELECT pg_switch_wal()")
    place.stop()
    assert drill(place) == 1, log(place)
    assert "pg_amcheck: " in place.message()
    assert "sorted" in place.message()


def disorder(path: Path) -> None:
    """Swap two entries of the first leaf page of an index."""
    page = bytearray(path.read_bytes())
    first = 8192 + 24 + 4 * 4
    page[first : first + 4], page[first + 4 : first + 8] = (
        page[first + 4 : first + 8],
        page[first : first + 4],
    )
    path.write_bytes(page)


def test_a_subscription_in_the_backup_takes_nothing_from_its_publisher(place: Place) -> None:
    place.start()
    place.sql(
        "CREATE SUBSCRIPTION taken CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p"
        " WITH (connect = false, slot_name = 'kept')"
    )
    place.sql("ALTER SUBSCRIPTION taken ENABLE; SELECT pg_switch_wal()")
    place.stop()
    try:
        assert drill(place) == 0, log(place)
        assert "subscription" not in log(place)
    finally:
        subprocess.run(["rm", "-rf", place.root / "scratch"], check=True)


def test_an_older_backup_is_restored_to_its_own_end(place: Place) -> None:
    """The archive behind it does not matter: here it has a hole."""
    missing_wal(place)
    assert drill(place, f"--set={newest(place)}", "--type=immediate") == 0, log(place)
    assert json.loads(place.message())["timeline"] == 2


SECRET = "s3cret-value"
LEAK = f"SELECT note::int FROM kept_notes WHERE note = '{SECRET}'".replace(SECRET, "s3' || 'cret-value")


@pytest.fixture
def noted(place: Place) -> Place:
    """A backup with a table that holds a secret, which nobody else may read."""
    place.start()
    place.sql("CREATE DATABASE other")
    place.sql(f"CREATE TABLE kept_notes AS SELECT '{SECRET}'::text AS note")
    place.sql("ALTER TABLE kept_notes ENABLE ROW LEVEL SECURITY; REVOKE ALL ON kept_notes FROM PUBLIC")
    place.sql("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
    place.run("pgbackrest", "--stanza=db", "--type=full", "backup")
    place.sql("SELECT pg_switch_wal()")
    place.stop()
    return place


def sql(place: Place, **files: str) -> int:
    """A drill with SQL for these databases."""
    folder = place.root / "sql"
    shutil.rmtree(folder, ignore_errors=True)
    place.run("mkdir", str(folder))
    for name, text in files.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    return drill(place, DRILL_SQL=str(folder), SQL_SECONDS="5")


def test_the_users_sql_is_part_of_the_proof(noted: Place) -> None:
    status = sql(
        noted,
        postgres="SELECT count(*) = 1 FROM kept_notes;\nSELECT NULL::bool; SELECT 'f', 1; SELECT 1 > 0",
        other="SELECT true",
    )
    assert status == 0, log(noted)
    assert json.loads(noted.message())["checked"] == "tables and B-tree indexes, SQL for 2 database(s)"


TOO_FAR = [
    ("SELECT count(*) > 1\n  FROM kept_notes", "(SELECT count(*) > 1 FROM kept_notes) is false"),
    ("SELECT 1/0", "(SELECT 1/0) failed: SQLSTATE 22012"),
    (LEAK, "failed: SQLSTATE 22P02"),
    ("SELECT pg_sleep(60)", "did not end within 5 s"),
    ("DELETE FROM kept_notes", "failed: SQLSTATE 25006"),
    ("SET transaction_read_only = off; DELETE FROM kept_notes", "failed: SQLSTATE 42501"),
    ("COPY (SELECT 1) TO PROGRAM 'touch {root}/proof'", "failed: SQLSTATE 42501"),
    ("SELECT pg_read_file('{root}/pgbackrest.conf')", "failed: SQLSTATE 42501"),
    ("SELECT lo_import('{root}/pgbackrest.conf')", "failed: SQLSTATE"),
    ("\\! touch {root}/proof", "failed: SQLSTATE 42601"),
    (" \n\\copy kept_notes TO PROGRAM 'touch {root}/proof'", "failed: SQLSTATE 42601"),
    ("SELECT 1 \\g |touch {root}/proof", "failed: SQLSTATE 42601"),
    ("RESET SESSION AUTHORIZATION; SET ROLE postgres", "failed: SQLSTATE 42501"),
    ("ALTER ROLE _pgoperator_drill SUPERUSER", "failed: SQLSTATE"),
    ("SELECT 1; " + "x" * 100_000, "is longer than 100000 characters"),
]


def test_sql_that_fails_or_reaches_too_far_fails_the_drill(noted: Place) -> None:
    """One restore, and a check of a copy for each text."""
    assert sql(noted) == 0, log(noted)
    scratch, kept, folder = noted.root / "scratch", noted.root / "kept", noted.root / "sql"
    noted.run("cp", "--archive", str(scratch), str(kept))
    values = {"PGDATA": str(scratch / "pg"), "DRILL_SQL": str(folder), "SQL_SECONDS": "5", "STANZA": "none"}
    for text, cause in TOO_FAR:
        shutil.rmtree(scratch)
        noted.run("cp", "--archive", str(kept), str(scratch))
        (folder / "postgres").write_text(text.replace("{root}", str(noted.root)))
        status = noted.begin(script="restore-check.sh", **values).wait(SECONDS)
        message = noted.message()
        assert status == 1, (text, message)
        assert message.startswith("the SQL for database postgres ("), log(noted)[-3000:]
        assert cause in message, (text, message)
        assert len(message) < 400
        assert SECRET not in message + log(noted), "data is in no message and no log"
        assert not (noted.root / "proof").exists(), text


def test_sql_for_a_database_that_is_not_there_fails_the_drill(noted: Place) -> None:
    assert sql(noted, gone="SELECT true") == 1
    assert noted.message().rstrip().endswith("there is no such database in the backup")
