"""The faults: each is injected, waits for its effect, and is removed, also after an error."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from pgoperator import labels
from tests.bench.table import emit
from tests.chaos.load import Load
from tests.support import faults
from tests.support.clusters import Cluster
from tests.support.kubectl import NeverHappened, until
from tests.support.operators import Operator
from tests.support.switchovers import answered, ask


@dataclass(frozen=True)
class Scene:
    """The cluster under a fault, and its clients."""

    cluster: Cluster
    operator: Operator
    load: Load
    switchovers: int
    deadline: float
    """No further switchover begins after this time, in monotonic seconds."""


@dataclass(frozen=True)
class Fault:
    """A fault and its title; a planned fault must not fail any transaction."""

    title: str
    strike: Callable[[Scene], None]
    planned: bool = False

    @property
    def patience(self) -> float:
        """Return a client's timeout: short, or, for a planned change, longer than the change."""
        return 30.0 if self.planned else 5.0


def _kill(scene: Scene) -> None:
    faults.kill_postmaster(scene.cluster)


def _delete(scene: Scene) -> None:
    faults.delete_pod(scene.cluster)


def _kill_patroni(scene: Scene) -> None:
    faults.kill_patroni(scene.cluster)


def _drain(scene: Scene) -> None:
    """Evict the primary, as a drain does; the poolers stay, whose clients a drain cuts off."""
    with faults.node_drained(scene.cluster, f"{labels.DATA}={labels.DATA_POSTGRES}"):
        scene.load.wait_for_writes(time.monotonic(), 60)


def _cut(scene: Scene) -> None:
    with faults.node_cut_off(scene.cluster):
        scene.load.wait_for_writes(time.monotonic() + 5, 150)


def _freeze(scene: Scene) -> None:
    """Freeze PostgreSQL until another primary accepts writes, or for two leases; the gap shows the latter."""
    with faults.postgres_frozen(scene.cluster), suppress(NeverHappened):
        scene.load.wait_for_writes(time.monotonic() + 5, 75)


def _stop_api_server(scene: Scene) -> None:
    del scene  # there is one API server for all
    with faults.api_server_stopped():
        time.sleep(60)


def _stop_operator(scene: Scene) -> None:
    with scene.operator.away():
        time.sleep(30)


def _change(scene: Scene) -> None:
    """Change the pod template: each pod is replaced, the primary last, after a switchover."""
    requests = {"requests": {"memory": f"{96 + int(time.monotonic()) % 32}Mi"}}
    scene.cluster.change(lambda spec: spec["instances"][0].update(resources=requests))
    scene.cluster.wait_ready(300)


def _await_answer(cluster: Cluster, value: str, what: str) -> None:
    until(what, lambda: answered(cluster) == value, 120, cluster.explain)


def _switch(scene: Scene) -> None:
    cluster = scene.cluster
    for number in range(scene.switchovers):
        late = time.monotonic() > scene.deadline
        assert not late, f"{number} of {scene.switchovers} were completed before the time was over"
        old, value, began = cluster.primary_name(), f"{time.monotonic_ns()}", time.monotonic()
        ask(cluster, value)
        _await_answer(cluster, value, f"switchover {number + 1}")
        answer = time.monotonic() - began
        assert cluster.primary_name() != old, cluster.condition("Switchover").get(
            "message", "no reason reported"
        )
        cluster.wait_ready(120)
        ready = time.monotonic() - began
        emit(f"switchover {number + 1}: completed after {answer:.1f} s, all ready after {ready:.1f} s")


FAULTS = {
    "kill": Fault("PostgreSQL of the primary killed with SIGKILL", _kill),
    "delete": Fault("pod of the primary deleted", _delete),
    "patroni": Fault("Patroni of the primary killed with SIGKILL", _kill_patroni, planned=True),
    "drain": Fault("primary evicted by a drain of its node", _drain, planned=True),
    "cut": Fault("node of the primary cut off, healed", _cut),
    "freeze": Fault("PostgreSQL of the primary frozen", _freeze),
    "api": Fault("API server down for 60 s", _stop_api_server),
    "operator": Fault("operator down for 30 s", _stop_operator),
    "rolling": Fault("rolling change", _change, planned=True),
    "switchovers": Fault("switchovers", _switch, planned=True),
}
