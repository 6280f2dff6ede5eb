import json
from datetime import UTC, datetime
from typing import Any

import pytest

from pgoperator.postgres import pgbackrest_info
from pgoperator.postgres.pgbackrest_info import BadInfo

# As pgBackRest 2.55.1 wrote it.
FULL: dict[str, Any] = {
    "annotation": {"percona.com/backup-name": "a"},
    "archive": {"start": "000000010000000000000002", "stop": "000000010000000000000002"},
    "backrest": {"format": 5, "version": "2.55.1"},
    "database": {"id": 1, "repo-key": 1},
    "error": False,
    "info": {
        "delta": 31179355,
        "repository": {"delta": 4041868, "size": 4041868},
        "size": 31179355,
    },
    "label": "20261121-084407F",
    "lsn": {"start": "0/2000028", "stop": "0/2000120"},
    "prior": None,
    "reference": None,
    "timestamp": {"start": 1795250647, "stop": 1795250651},
    "type": "full",
}
INCR = FULL | {
    "label": "20261121-084407F_20261121-090000I",
    "prior": "20261121-084407F",
    "reference": ["20261121-084407F"],
    "timestamp": {"start": 1795251600, "stop": 1795251601},
    "type": "incr",
}
STANZA: dict[str, Any] = {
    "archive": [
        {
            "database": {"id": 1, "repo-key": 1},
            "id": "17-1",
            "max": "000000010000000000000002",
            "min": "000000010000000000000001",
        }
    ],
    "backup": [INCR, FULL],
    "cipher": "none",
    "db": [{"id": 1, "repo-key": 1, "system-id": 7710542513363218479, "version": "17"}],
    "name": "db",
    "repo": [{"cipher": "none", "key": 1, "status": {"code": 0, "message": "ok"}}],
    "status": {"code": 0, "lock": {"backup": {"held": False}}, "message": "ok"},
}


def test_every_fact_is_read() -> None:
    info = pgbackrest_info.parse(json.dumps([STANZA]))
    assert (info.code, info.message, info.backup_running) == (0, "ok", False)
    full, incr = info.of_repo(1)
    assert full.label == "20261121-084407F"
    assert full.type == "full"
    assert full.start == datetime.fromtimestamp(1795250647, UTC)
    assert (full.lsn_start, full.lsn_stop) == ("0/2000028", "0/2000120")
    assert (full.size, full.delta, full.repo_size, full.repo_delta) == (31179355, 31179355, 4041868, 4041868)
    assert full.error is False
    assert full.prior is None
    assert full.annotations == {"percona.com/backup-name": "a"}
    assert incr.prior == incr.full_label == full.label == full.full_label
    database = info.database_of(full)
    assert database is not None
    assert (database.system_id, database.version) == (7710542513363218479, "17")
    assert info.archives[0].max == "000000010000000000000002"
    assert info.status_of(1) == pgbackrest_info.RepoStatus(1, 0, "ok", "none")
    assert info.status_of(2) is None
    assert info.backup(incr.label) == incr
    assert info.backup(incr.label, repo=2) is None


def test_an_empty_stanza() -> None:
    stanza = STANZA | {"backup": [], "archive": [], "status": {"code": 2, "message": "no valid backups"}}
    info = pgbackrest_info.parse(json.dumps([stanza]))
    assert info.code == 2
    assert (info.backups, info.archives) == ((), ())


def test_a_stanza_that_nobody_knows() -> None:
    assert pgbackrest_info.parse("[]").code != pgbackrest_info.OK


def test_bundles_have_no_size_in_the_repository() -> None:
    backup = FULL | {"info": {"delta": 1, "size": 2, "repository": {"delta": 3, "delta-map": 4}}}
    (found,) = pgbackrest_info.parse(json.dumps([STANZA | {"backup": [backup]}])).backups
    assert (found.repo_size, found.repo_delta) == (None, 3)


@pytest.mark.parametrize("text", ["", "ERROR: [055]: unable", "{}", '[{"name": "db"}]', "[1]"])
def test_what_is_no_answer_is_said(text: str) -> None:
    with pytest.raises(BadInfo):
        pgbackrest_info.parse(text)
