"""The backup that an annotation of the cluster asks for."""

from dataclasses import replace
from typing import Any

import pytest

from pgoperator import labels
from reconcilers.pgcluster import archive, on_demand
from reconcilers.pgcluster.view import View
from tests.support.views import CLAIM, view
from tests.unit.pgcluster.test_archive import backup

MANUAL = {"repoName": "repo1", "options": ["--type=full"], "env": [{"name": "A", "value": "1"}]}


def asked(
    value: str = "", *, key: str = labels.PGBACKREST_BACKUP, manual: Any = MANUAL, **status: Any
) -> View:
    repos = [{"name": "repo1", "volume": {"volumeClaimSpec": CLAIM}}]
    backups = {"pgbackrest": {"repos": repos} | ({"manual": manual} if manual else {})}
    seen = view(status={"pgbackrest": status}, backups=backups)
    annotations = {key: value} if value else {}
    manifest = seen.manifest | {"metadata": seen.manifest["metadata"] | {"annotations": annotations}}
    return replace(seen, manifest=manifest)


def reason(seen: View, *found: dict[str, Any]) -> str:
    return next((fact[2] for fact in on_demand.facts(seen, archive.book(seen, found))), "")


@pytest.mark.parametrize("key", [labels.PGBACKREST_BACKUP, "pgv2.percona.com/pgbackrest-backup"])
def test_a_new_value_asks_for_what_the_spec_says(key: str) -> None:
    seen = asked("monday noon!", key=key)
    assert on_demand.spec(seen, archive.NO_BACKUPS) == {
        "repoName": "repo1",
        "options": ["--type=full"],
        "containerOptions": {"env": [{"name": "A", "value": "1"}]},
    }
    assert on_demand.name(seen) == on_demand.name(asked("monday noon!"))
    assert on_demand.name(seen) != on_demand.name(asked("tuesday"))
    assert reason(seen) == "ManualBackupWaiting"


def test_without_a_value_or_a_description_nothing_is_made() -> None:
    assert on_demand.spec(asked(), archive.NO_BACKUPS) is None
    assert reason(asked()) == ""
    undefined = asked("now", manual=None)
    assert on_demand.spec(undefined, archive.NO_BACKUPS) is None
    assert reason(undefined) == "ManualBackupUndefined"


def test_a_value_is_acted_on_once() -> None:
    """A pass that was cut off finds the object; the status knows the value when that has gone."""
    seen = asked("now")
    made = backup(on_demand.name(seen), "Running")
    known = archive.book(seen, [made])
    assert on_demand.spec(seen, known) is None
    told = on_demand.status(seen, known)
    assert told is not None
    assert (told.id, told.finished) == ("now", False)
    later = asked("now", manualBackup=told.to_manifest())
    assert on_demand.spec(later, archive.NO_BACKUPS) is None
    assert reason(later) == "ManualBackupFailed"
    assert on_demand.spec(asked("again", manualBackup=told.to_manifest()), known) is not None


def test_the_originals_value_names_a_backup_that_is_there() -> None:
    seen = asked("backup1")
    assert on_demand.spec(seen, archive.book(seen, [backup("backup1")])) is None


def test_what_became_of_it_is_told() -> None:
    seen = asked("now")
    name = on_demand.name(seen)
    assert reason(seen, backup(name, "Running")) == "ManualBackupRunning"
    assert reason(seen, backup(name)) == "ManualBackupComplete"
    failed = backup(name, "Failed", error="no space")
    assert reason(seen, failed) == "ManualBackupFailed"
    (fact,) = on_demand.facts(seen, archive.book(seen, [failed]))
    assert "no space" in fact[3]
    told = on_demand.status(seen, archive.book(seen, [failed]))
    assert told is not None
    assert (told.finished, told.failed, told.succeeded) == (True, 1, None)
