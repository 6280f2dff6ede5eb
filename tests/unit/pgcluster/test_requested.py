"""A restore that is asked for by an annotation: once for each value, and never by what a new cluster has."""

from typing import Any

import pytest

from pgoperator import labels, naming
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.bootstrap import act_restore_request
from reconcilers.pgcluster.state.view import View
from tests.support.views import cluster_manifest, view

VALUE = "2026-01-02 10:00"
NAME = naming.requested_restore("cluster1", VALUE)
WANTED = {
    "enabled": True,
    "repoName": "repo1",
    "options": ["--type=time", '--target="2026-01-01 00:00:00+00"'],
}
RUNS = {"patroni": {"status": {"systemIdentifier": "7"}}}


def asked(
    value: str = VALUE, status: Manifest | None = None, prefix: str = labels.CRUNCHY, **wanted: object
) -> View:
    backups = cluster_manifest()["spec"]["backups"]
    backups["pgbackrest"]["restore"] = WANTED | wanted
    found = view(status=RUNS | (status or {}), backups=backups)
    found.manifest["metadata"]["annotations"] = {prefix + "pgbackrest-restore": value}
    return found


def known(value: str, *, finished: bool = False) -> Manifest:
    return {"pgbackrest": {"restore": {"id": value, "finished": finished}}}


def restore(name: str = NAME, state: str = "", cluster: str = "cluster1") -> Manifest:
    return {"metadata": {"name": name}, "spec": {"pgCluster": cluster}, "status": {"state": state}}


@pytest.mark.parametrize("prefix", [labels.CRUNCHY, labels.PERCONA])
def test_a_new_value_becomes_a_restore(prefix: str) -> None:
    variables = [{"name": "A", "value": "b"}]
    noted, made = act_restore_request.look(asked(prefix=prefix, env=variables), [])
    assert noted is not None
    assert (noted.id, noted.finished) == (VALUE, False)
    assert made is not None
    assert made["metadata"]["name"] == NAME
    assert made["spec"] == {
        "pgCluster": "cluster1",
        "repoName": "repo1",
        "options": WANTED["options"],
        "containerOptions": {"env": variables},
    }


def test_a_value_asks_once_also_when_its_object_is_deleted() -> None:
    noted, made = act_restore_request.look(asked(status=known(VALUE, finished=True)), [])
    assert made is None
    assert noted is not None
    assert noted.finished
    _, made = act_restore_request.look(
        asked("another", status=known(VALUE, finished=True)), [restore(state="Failed")]
    )
    assert made is not None
    assert made["metadata"]["name"] != NAME


def test_the_status_says_when_it_has_ended() -> None:
    under_way, _ = act_restore_request.look(asked(status=known(VALUE)), [restore(state="Running")])
    ended, _ = act_restore_request.look(asked(status=known(VALUE)), [restore(state="Failed")])
    assert under_way is not None
    assert ended is not None
    assert (under_way.finished, ended.finished) == (False, True)
    assert (under_way.active, ended.active, ended.succeeded, ended.failed) == (1, None, None, 1)
    done = restore(state="Succeeded")
    done["metadata"]["creationTimestamp"] = "2026-01-02T10:00:00Z"
    done["status"]["completed"] = "2026-01-02T10:05:00Z"
    found, _ = act_restore_request.look(asked(status=known(VALUE)), [done])
    assert found is not None
    assert found.to_manifest() == {
        "id": VALUE,
        "finished": True,
        "succeeded": 1,
        "startTime": "2026-01-02T10:00:00Z",
        "completionTime": "2026-01-02T10:05:00Z",
    }
    # They stay when the object is deleted.
    kept, _ = act_restore_request.look(asked(status={"pgbackrest": {"restore": found.to_manifest()}}), [])
    assert kept == found


def test_what_a_new_cluster_comes_with_asks_for_nothing() -> None:
    noted, made = act_restore_request.look(asked(status={"patroni": {}}), [])
    assert made is None
    assert noted is not None
    assert (noted.id, noted.finished) == (VALUE, True)


def test_the_note_of_percona_operator_is_no_request() -> None:
    noted, made = act_restore_request.look(asked("restore1"), [restore("restore1", "Succeeded")])
    assert made is None
    assert noted is not None
    assert noted.finished


@pytest.mark.parametrize(
    "wanted", [{"enabled": False}, {"clusterName": "other"}, {"clusterNamespace": "ns2"}]
)
def test_nothing_is_asked(wanted: dict[str, Any]) -> None:
    assert act_restore_request.look(asked(**wanted), []) == (None, None)
