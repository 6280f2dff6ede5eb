"""One fault from beginning to end: a healthy cluster, load, the fault, recovery, the judgement."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TypeVar

from tests.bench.place import Place
from tests.bench.table import emit
from tests.chaos.load import Load, load
from tests.chaos.strikes import FAULTS, Scene
from tests.chaos.verdict import Outcome
from tests.support.clusters import Cluster, example
from tests.support.kubectl import until
from tests.support.pgbench import pgbench

T = TypeVar("T")


@dataclass(frozen=True)
class Trial:
    """A cluster that gets one fault after another."""

    place: Place
    cluster: Cluster
    synchronous: bool
    switchovers: int

    @classmethod
    def begin(cls, place: Place, synchronous: bool, switchovers: int) -> "Trial":
        """Create the example, with transaction pooling."""
        manifest = example()
        manifest["spec"]["proxy"]["pgBouncer"]["config"] = {"global": {"pool_mode": "transaction"}}
        if synchronous:
            manifest["spec"].setdefault("patroni", {})["dynamicConfiguration"] = {"synchronous_mode": True}
        made = Cluster(place.kubectl, manifest, place.operator)
        made.apply()
        made.wait_ready(300)
        return cls(place, made, synchronous, switchovers)

    def whole(self) -> None:
        """Wait until the cluster is healthy and its replicas stream."""
        self.cluster.wait_ready(180)
        until("all replicas stream", self._streams, 90, self.cluster.explain, 1)
        if self.synchronous:
            until(
                "a replica is synchronous", self.cluster.has_synchronous_replica, 60, self.cluster.explain, 1
            )

    def _streams(self) -> bool:
        states = sorted(member["State"] for member in self.cluster.patronictl())
        return states == ["running", "streaming", "streaming"]

    def run(self, name: str, deadline: float) -> Outcome:
        """Inject a fault once. An error becomes part of the outcome; the rest of the outcome is kept."""
        fault = FAULTS[name]
        title = f"{self.switchovers} {fault.title}" if name == "switchovers" else fault.title
        attempts = Attempts(title)
        outcome = Outcome(title, fault.planned)
        with ExitStack() as stack:
            if (running := attempts.make(lambda: self._load(stack, name, fault.patience))) is None:
                return replace(outcome, trouble=attempts.trouble)
            bench = None
            if fault.planned:
                client = running.appenders[0].client
                bench = attempts.make(lambda: stack.enter_context(pgbench(client, self.cluster)))
            since = time.monotonic()
            scene = Scene(self.cluster, self.place.operator, running, self.switchovers, deadline)
            attempts.make(lambda: fault.strike(scene))
            attempts.make(lambda: running.wait_for_writes(time.monotonic(), 120))
            # Include the recovery: a returning old primary must not interrupt or lose anything.
            attempts.make(lambda: self.cluster.wait_ready(180))
            transactions, aborted = (bench and attempts.make(bench.figures)) or (0, 0)
            if bench is not None:
                emit(f"{title}: pgbench: about {transactions} transactions, {aborted} clients aborted")
            if (history := attempts.make(running.history)) is not None:
                emit(f"{title}: errors through pgBouncer: {history.errors()}")
        return replace(outcome, history=history, since=since, aborted=aborted, trouble=attempts.trouble)

    def _load(self, stack: ExitStack, name: str, patience: float) -> Load:
        """Let clients write into a healthy cluster, one of them on the primary's node."""
        self.whole()
        home = self.cluster.primary()["spec"]["nodeName"]
        away = next(node for node in self.place.nodes if node != home)
        clients = [self.place.client(away), self.place.client(home)]
        table = f"{name}_{int(time.monotonic())}"
        return stack.enter_context(load(self.cluster, table, clients, patience))


@dataclass
class Attempts:
    """Steps that run although an earlier step failed; each failure is printed at once."""

    title: str
    trouble: str = ""
    """The first line of each failure."""

    def make(self, act: Callable[[], T]) -> T | None:
        """Run a step; return None when it fails."""
        try:
            return act()
        except Exception as error:  # noqa: BLE001 - an error in one fault must not stop the others
            emit(f"{self.title}: {type(error).__name__}: {error}")
            first = str(error).partition("\n")[0] or type(error).__name__
            self.trouble = "; ".join(filter(None, (self.trouble, first)))
            return None
