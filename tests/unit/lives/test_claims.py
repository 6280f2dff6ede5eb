"""A status that claims more than a client sees is noticed."""

import pytest

from tests.lives.claims import Claim, changed, contradictions, false_backups, lies, probe_kills, unexplained
from tests.support.kubectl import Manifest

READY = {"Ready": "True", "Progressing": "False", "Degraded": "False"}


def cluster(ready: int = 2, **conditions: str) -> Manifest:
    found = [{"type": kind, "status": value} for kind, value in (READY | conditions).items()]
    return {
        "spec": {"instances": [{"replicas": 2}], "proxy": {"pgBouncer": {"replicas": 1}}},
        "status": {
            "conditions": found,
            "postgres": {"size": 2, "ready": ready},
            "pgbouncer": {"size": 1, "ready": 1},
        },
    }


def test_ready_without_writes() -> None:
    assert lies([Claim(100.0, "")], None) == []
    assert "no server" in lies([Claim(100.0, "no server")], None)[0]


@pytest.mark.parametrize(("at", "count"), [(134.0, 0), (136.0, 1)])
def test_a_strike_is_noticed_after_some_time(at: float, count: int) -> None:
    assert len(lies([Claim(101.0, "gone"), Claim(at, "gone")], 100.0)) == count


def test_a_summary_that_contradicts_itself() -> None:
    assert contradictions(cluster()) == []
    assert "Degraded is True" in contradictions(cluster(Degraded="True"))[0]
    assert "'ready': 1" in contradictions(cluster(ready=1))[0]


def test_a_backup_that_is_not_in_the_repository() -> None:
    backup = {"metadata": {"name": "b"}, "status": {"state": "Succeeded", "backupName": "20260101F"}}
    assert false_backups([backup], {"20260101F"}) == []
    assert "lacks 20260101F" in false_backups([backup], set())[0]
    assert false_backups([backup | {"status": {"state": "Failed"}}], set()) == []


def test_a_slow_machine_gets_more_time() -> None:
    assert lies([Claim(136.0, "gone")], 100.0, slowness=2) == []
    assert "for 30 s" in lies([Claim(171.0, "gone")], 100.0, slowness=2)[0]


def test_what_has_changed() -> None:
    assert changed({"a": 1}, {"a": 1, "b": 2}, "pod") == []
    assert changed({"a": 1}, {"a": 2}, "pod") == ["pod a: 1, now 2"]
    assert changed({"a": 1}, {}, "pod") == ["pod a: 1, now None"]


def test_restarts_that_a_liveness_probe_explains() -> None:
    found = changed({"p-0": 1, "PostgreSQL of q-0": 1}, {"p-0": 2, "PostgreSQL of q-0": 2}, "restarted:")
    killed = {"reason": "Killing", "message": "Container database failed liveness probe, will be restarted"}
    stopped = {"reason": "Killing", "message": "Stopping container database"}
    events: list[Manifest] = [
        killed | {"involvedObject": {"name": "p-0"}, "count": 2},
        stopped | {"involvedObject": {"name": "q-0"}},
    ]
    assert probe_kills(events) == {"p-0": 2}
    assert unexplained(found, probe_kills(events)) == ["restarted: PostgreSQL of q-0: 1, now 2"]
    assert unexplained(found, {}) == found
