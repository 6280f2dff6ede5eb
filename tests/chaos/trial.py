"""One fault from beginning to end: a whole cluster, load, the fault, recovery, the judgement."""

import time
from contextlib import ExitStack
from dataclasses import dataclass

from local.console import LocalError
from tests.bench.place import Place
from tests.bench.table import say
from tests.chaos.load import load
from tests.chaos.pgbench import pgbench
from tests.chaos.strikes import FAULTS, Scene
from tests.chaos.verdict import Outcome
from tests.support.clusters import Cluster, example
from tests.support.kubectl import KubectlError, until


@dataclass(frozen=True)
class Trial:
    """A cluster that faults strike one after another."""

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
        """Wait until all is as it shall be before a fault."""
        self.cluster.wait_ready(180)
        until("all replicas stream", self._streams, 90, self.cluster.explain, 1)
        if self.synchronous:
            until("a replica is synchronous", self._is_synchronous, 60, self.cluster.explain, 1)

    def _streams(self) -> bool:
        states = sorted(member["State"] for member in self.cluster.patronictl())
        return states == ["running", "streaming", "streaming"]

    def _is_synchronous(self) -> bool:
        query = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"
        return int(self.cluster.psql(query)) >= 1

    def run(self, name: str, deadline: float) -> Outcome:
        """Strike once; what goes wrong becomes part of the outcome."""
        fault = FAULTS[name]
        title = f"{self.switchovers} {fault.title}" if name == "switchovers" else fault.title
        history, since, aborted, trouble = None, 0.0, 0, ""
        try:
            self.whole()
            with ExitStack() as stack:
                home = self.cluster.primary()["spec"]["nodeName"]
                away = next(node for node in self.place.nodes if node != home)
                clients = [self.place.client(away), self.place.client(home)]
                running = stack.enter_context(
                    load(self.cluster, f"{name}_{int(time.monotonic())}", clients, fault.patience)
                )
                bench = stack.enter_context(pgbench(clients[0], self.cluster)) if fault.planned else None
                since = time.monotonic()
                try:
                    fault.strike(
                        Scene(self.cluster, self.place.operator, running, self.switchovers, deadline)
                    )
                    running.wait_for_writes(time.monotonic(), 120)
                except (AssertionError, KubectlError, LocalError) as error:
                    trouble = str(error)
                # Also what comes after: an old primary that returns must not interrupt or lose anything.
                self.cluster.wait_ready(180)
                if bench is not None:
                    transactions, aborted = bench.figures()
                    say(f"pgbench: about {transactions} transactions, {aborted} clients lost one")
                history = running.history()
        except (AssertionError, KubectlError, LocalError) as error:
            trouble = "\n".join(filter(None, (trouble, str(error))))
        if trouble:
            say(f"{title}: {trouble}")
        if history is not None:
            say(f"{title}: errors through pgBouncer: {history.errors()}")
        return Outcome(title, fault.planned, history, since, aborted, trouble)
