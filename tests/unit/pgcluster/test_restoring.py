"""Which instances a restore stops, and which of them leads if it loses the former data."""

import asyncio
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pgoperator import labels, naming
from pgoperator.context import Context
from pgoperator.kube.manifest import Manifest, name_of
from reconcilers.pgcluster.bootstrap import act_restore_gate
from reconcilers.pgcluster.state import primary_mark
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.view import Restoring, View
from tests.support.views import view
from tests.unit.pgcluster.observed import bootstrapped, claim, instance_pod, leader, stateful_set

A, B, C = sorted(p.name for p in view().planned)


def running(locations: dict[str, int], sync: str = "") -> View:
    """A is the primary; the others are as far as said."""
    objects: list[Manifest] = [bootstrapped(), leader(A)]
    for name in (A, B, C):
        volume = claim(f"{name}-pgdata", labels.instance("cluster1", "instance1", name))
        volume["metadata"]["labels"][labels.ROLE] = labels.ROLE_PGDATA
        pod = instance_pod(name, "primary" if name == A else "replica")
        status = {"xlog_location": locations.get(name, 0), "role": "replica", "state": "streaming"}
        pod["metadata"].setdefault("annotations", {})["status"] = json.dumps(status)
        objects += [volume, stateful_set(name), pod]
    found = view(objects)
    if sync:
        facts = {"metadata": {"annotations": {"leader": naming.pod(A), "sync_standby": naming.pod(sync)}}}
        found = replace(found, observed=replace(found.observed, sync=facts))
    return replace(found, restoring=Restoring("r", "Stopping", A))


class Client:
    """It keeps what is asked of it."""

    def __init__(self) -> None:
        self.marked: list[str] = []
        self.deleted: list[str] = []

    async def merge_patch(self, _kind: Any, _namespace: str, name: str, _patch: Manifest) -> None:
        self.marked.append(name)

    async def delete(self, _kind: Any, _namespace: str, name: str, **_: Any) -> None:
        self.deleted.append(name)


@pytest.mark.parametrize(
    ("locations", "sync", "second"),
    [({B: 5, C: 9}, "", C), ({B: 9, C: 5}, "", B), ({B: 5, C: 9}, B, B), ({}, "", "")],
)
def test_the_replica_that_has_most_leads_if_the_primary_loses_its_data(
    locations: dict[str, int], sync: str, second: str
) -> None:
    client = Client()
    seen = running(locations, sync)
    asyncio.run(act_restore_gate.act(cast("Context", SimpleNamespace(client=client)), seen, ClusterCache()))
    assert client.marked == ([f"{second}-pgdata"] if second else [])
    assert client.deleted == [B, C]


def test_the_primary_is_marked_later_so_that_it_leads_if_nothing_is_lost() -> None:
    seen = running({})
    volumes = seen.observed.volumes
    for volume in volumes:
        time = {f"{A}-pgdata": "2026-01-02T03:04:06", f"{B}-pgdata": "2026-01-02T03:04:05"}.get(
            name_of(volume)
        )
        if time:
            volume["metadata"]["annotations"] = {labels.PAUSED_PRIMARY: time}
    assert primary_mark.marked(seen.observed) == A
    for volume in volumes:
        if name_of(volume) == f"{A}-pgdata":
            del volume["metadata"]["annotations"]
    assert primary_mark.marked(seen.observed) == B
