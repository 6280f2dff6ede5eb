"""What a restore does to the cluster, beside a client that keeps what is asked of it."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pgoperator import labels
from pgoperator.api.pgrestore import PGRestore
from pgoperator.context import Context
from pgoperator.errors import CommandTimedOut
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.state.view import Instance, Observed
from reconcilers.pgrestore import act_check, act_restore
from tests.support.views import NAMESPACE, NOW, view


class Client:
    """It keeps what is asked of it."""

    def __init__(self) -> None:
        self.patched: list[tuple[str, Manifest]] = []
        self.deleted: list[str] = []

    async def merge_patch(self, _kind: Any, _namespace: str, name: str, patch: Manifest) -> None:
        self.patched.append((name, patch))

    async def get(self, _kind: Any, _namespace: str, name: str) -> Manifest:
        return {"metadata": {"name": name, "uid": f"uid-of-{name}"}}

    async def delete(self, _kind: Any, _namespace: str, name: str, *, uid: str | None) -> None:
        assert uid == f"uid-of-{name}"
        self.deleted.append(name)


def restore(*options: str, **status: Any) -> PGRestore:
    return PGRestore.parse(
        {
            "apiVersion": "pgv2.percona.com/v2",
            "kind": "PerconaPGRestore",
            "metadata": {"name": "back", "namespace": NAMESPACE, "uid": "back"},
            "spec": {"pgCluster": "cluster1", "repoName": "repo1", "options": list(options)},
            "status": status,
        }
    )


def test_an_instance_that_has_lost_its_data_does_not_start_first() -> None:
    client = Client()
    asyncio.run(
        act_restore.yield_leadership(
            cast("Context", SimpleNamespace(client=client)), restore(instance="cluster1-a-1111")
        )
    )
    unmarked = {"metadata": {"annotations": {labels.PAUSED_PRIMARY: None}}}
    assert client.patched == [("cluster1-a-1111-pgdata", unmarked)]
    # Synchronous replicas are those that have everything: that is not forgotten.
    assert client.deleted == ["cluster1-ha", "cluster1-ha-failover"]


def test_the_job_begins_with_the_backup_that_was_checked() -> None:
    label = "20260101-000000F"
    for options in ([], ["--set=latest"], [f"--set={label}"]):
        assert act_restore.job_arguments(restore(*options, backupSet=label)) == [f"--set={label}"]
    # Of a repository that nobody could ask.
    assert act_restore.job_arguments(restore("--delta")) == ["--delta"]
    timed = restore("--type=time", '--target="2026-11-21T09:00:00Z"', backupSet=label)
    assert act_restore.job_arguments(timed) == [
        "--type=time",
        "--target=2026-11-21 09:00:00.000000+00",
        f"--set={label}",
    ]


def test_the_commit_before_a_restore_is_one_that_every_version_knows() -> None:
    asked: list[list[str]] = []

    class Database:
        async def exec(self, *where: Any, **_: Any) -> str:
            asked.append(where[-1])
            return ""

    ctx = cast("Context", SimpleNamespace(client=Database()))
    asyncio.run(act_check._commit_once(ctx, NAMESPACE, "cluster1-a-1111-0"))
    # pg_current_xact_id() came with PostgreSQL 13.
    assert "--command=SELECT txid_current()" in asked[0]


@pytest.mark.parametrize(
    ("fails", "pod", "seconds", "waits", "told"),
    [
        (False, True, 0, False, False),
        (True, True, 0, True, False),
        (False, False, 299, True, False),
        (True, True, 301, False, True),
        (False, False, 301, False, True),
    ],
)
def test_former_data_that_stays_is_reported(
    fails: bool, pod: bool, seconds: int, waits: bool, told: bool
) -> None:
    """Also that of an instance that is not the primary any more."""
    done = restore(instance="i", completed=NOW.isoformat())
    name: list[str] = []
    events: list[str] = []

    class Pod:
        async def exec(self, _namespace: str, where: str, *_: Any, **__: Any) -> str:
            name.append(where)
            if fails:
                raise CommandTimedOut("bash did not finish")
            return ""

    ctx = cast(
        "Context",
        SimpleNamespace(
            client=Pod(),
            clock=lambda: NOW + timedelta(seconds=seconds),
            events=SimpleNamespace(event=lambda _, **event: events.append(event["message"])),
        ),
    )
    observed = Observed(instances=(Instance("i", "set", pod={} if pod else None),))
    left = asyncio.run(act_restore.clean(ctx, done, {}, view().cluster, observed))
    assert (left is not None, bool(events)) == (waits, told)
    assert name == (["i-0"] if pod else [])
    if told:
        assert "/pgdata/pg17_before_back" in events[0]
