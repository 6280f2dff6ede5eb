"""Events of a cluster: one for each change of a condition, also for a repeated change."""

import pytest

from pgoperator import labels
from pgoperator.api.status import PGClusterStatus
from pgoperator.context import Context
from pgoperator.kube.apply import Applier
from pgoperator.kube.client import Client
from pgoperator.kube.events import Recorder
from pgoperator.kube.kinds import EVENT
from pgoperator.kube.manifest import Manifest
from pgoperator.kube.store import Store
from pgoperator.settings import Settings
from reconcilers.pgcluster.status import events
from tests.support.views import NOW, cluster_manifest

pytestmark = pytest.mark.api


def condition(kind: str, status: str, reason: str, message: str) -> Manifest:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }


SERVES = [
    condition("Ready", "True", "AllServing", "all components of the cluster are ready"),
    condition("Degraded", "False", "AllServing", "all components of the cluster are ready"),
]
LOST = [
    condition("Ready", "False", "NotReady", "no primary accepts writes"),
    condition("Degraded", "True", "NotReady", "no primary accepts writes"),
]


class World:
    """A cluster whose conditions change, and an operator with a test clock."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client, self.namespace = client, namespace
        self.seconds = 0
        self.restart()

    def restart(self) -> None:
        store = Store(labels.CLUSTER)
        self.events = Recorder(self.client, clock=lambda: NOW.replace(second=self.seconds))
        applier = Applier(self.client, store)
        self.ctx = Context(self.client, store, applier, self.events, Settings(), lambda: NOW)

    async def turn(self, old: list[Manifest], new: list[Manifest]) -> None:
        manifest = cluster_manifest() | {"status": {"conditions": old}}
        manifest["metadata"]["namespace"] = self.namespace
        events.emit(self.ctx, manifest, PGClusterStatus.model_validate({"conditions": new}))
        await self.events.close(30)
        self.seconds += 1

    async def reported(self, reason: str) -> list[str]:
        """The types of the events with `reason`."""
        return [
            e["type"] for e in (await self.client.list(EVENT, self.namespace))[0] if e["reason"] == reason
        ]


@pytest.fixture
def world(client: Client, namespace: str) -> World:
    return World(client, namespace)


async def test_a_state_that_returns_is_an_event_again_and_one_that_lasts_is_not(world: World) -> None:
    await world.turn(SERVES, LOST)
    await world.turn(SERVES, LOST)  # the watch has not delivered our write yet
    await world.turn(LOST, LOST)
    assert await world.reported("NotReady") == ["Warning"]
    await world.turn(LOST, SERVES)
    assert await world.reported("AllServing") == ["Normal"]
    await world.turn(SERVES, LOST)
    assert await world.reported("NotReady") == ["Warning"] * 2
    await world.turn(LOST, SERVES)
    assert await world.reported("AllServing") == ["Normal"] * 2


async def test_a_restarted_operator_posts_the_event_of_a_state_that_returns(world: World) -> None:
    await world.turn(SERVES, LOST)
    await world.turn(LOST, SERVES)
    world.restart()
    await world.turn(LOST, LOST)
    assert await world.reported("NotReady") == ["Warning"]
    await world.turn(SERVES, LOST)
    assert await world.reported("NotReady") == ["Warning"] * 2
