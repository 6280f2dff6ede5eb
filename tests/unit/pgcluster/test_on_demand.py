"""The backup that an annotation of the cluster asks for."""

from dataclasses import replace
from typing import Any

import pytest

from pgoperator import labels
from reconcilers.pgcluster.backups import decide_backup_request, inventory
from reconcilers.pgcluster.state.view import View
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
    return next((fact[2] for fact in decide_backup_request.conditions(seen, inventory.book(seen, found))), "")


@pytest.mark.parametrize("key", [labels.PGBACKREST_BACKUP, "pgv2.percona.com/pgbackrest-backup"])
def test_a_new_value_asks_for_what_the_spec_says(key: str) -> None:
    seen = asked("monday noon!", key=key)
    assert decide_backup_request.spec(seen, inventory.NO_BACKUPS) == {
        "repoName": "repo1",
        "options": ["--type=full"],
        "containerOptions": {"env": [{"name": "A", "value": "1"}]},
    }
    assert decide_backup_request.name(seen) == decide_backup_request.name(asked("monday noon!"))
    assert decide_backup_request.name(seen) != decide_backup_request.name(asked("tuesday"))
    assert reason(seen) == "ManualBackupWaiting"


def test_without_a_value_or_a_description_nothing_is_made() -> None:
    assert decide_backup_request.spec(asked(), inventory.NO_BACKUPS) is None
    assert reason(asked()) == ""
    undefined = asked("now", manual=None)
    assert decide_backup_request.spec(undefined, inventory.NO_BACKUPS) is None
    assert reason(undefined) == "ManualBackupUndefined"


def test_a_value_is_acted_on_once() -> None:
    """A pass that was cut off finds the object; the status knows the value when that has gone."""
    seen = asked("now")
    made = backup(decide_backup_request.name(seen), "Running")
    known = inventory.book(seen, [made])
    assert decide_backup_request.spec(seen, known) is None
    reported = decide_backup_request.status(seen, known)
    assert reported is not None
    assert (reported.id, reported.finished) == ("now", False)
    later = asked("now", manualBackup=reported.to_manifest())
    assert decide_backup_request.spec(later, inventory.NO_BACKUPS) is None
    assert reason(later) == "ManualBackupFailed"
    assert decide_backup_request.spec(asked("again", manualBackup=reported.to_manifest()), known) is not None


def test_percona_operators_value_names_an_existing_backup() -> None:
    seen = asked("backup1")
    assert decide_backup_request.spec(seen, inventory.book(seen, [backup("backup1")])) is None


def test_what_became_of_it_is_told() -> None:
    seen = asked("now")
    name = decide_backup_request.name(seen)
    assert reason(seen, backup(name, "Running")) == "ManualBackupRunning"
    assert reason(seen, backup(name)) == "ManualBackupComplete"
    failed = backup(name, "Failed", error="no space")
    assert reason(seen, failed) == "ManualBackupFailed"
    (fact,) = decide_backup_request.conditions(seen, inventory.book(seen, [failed]))
    assert "no space" in fact[3]
    reported = decide_backup_request.status(seen, inventory.book(seen, [failed]))
    assert reported is not None
    assert (reported.finished, reported.failed, reported.succeeded) == (True, 1, None)
