"""Changes of a cluster's instances during a fault, as Kubernetes reports them, with their times."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from pgoperator import labels, naming
from tests.support.clusters import Cluster
from tests.support.kubectl import Event, Watch, is_ready


class Phases:
    """Watches the pods and the leader lock's Endpoints; use it as a context manager."""

    def __init__(self, cluster: Cluster) -> None:
        """Watch this cluster."""
        self._cluster, self._stack = cluster, ExitStack()
        base = f"/api/v1/namespaces/{cluster.kubectl.namespace}"
        self._watches = [Watch(cluster.kubectl, f"{base}/{kind}") for kind in ("pods", "endpoints")]
        # Events have wall-clock times, writers monotonic times.
        self._offset = time.time() - time.monotonic()

    def __enter__(self) -> Self:
        for watch in self._watches:
            self._stack.enter_context(watch)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def between(self, start: float, end: float) -> list[tuple[float, str]]:
        """Return the changes between two times, in monotonic seconds."""
        known: dict[str, str] = {}
        found = []
        for event in sorted((e for watch in self._watches for e in watch.events), key=lambda e: e.at):
            at = event.at - self._offset
            for what, value in self._facts(event):
                if known.get(what) != value and start <= at <= end:
                    found.append((at, f"{what}: {value}"))
                known[what] = value
        return found

    def _facts(self, event: Event) -> Iterator[tuple[str, str]]:
        metadata = event.object["metadata"]
        name, own = str(metadata["name"]), metadata.get("labels") or {}
        if event.object["kind"] == "Endpoints":
            if name == naming.patroni_scope(self._cluster.name):
                yield "lock", (metadata.get("annotations") or {}).get("leader", "none")
                subsets = event.object.get("subsets") or []
                yield "routed to", ", ".join(a["ip"] for s in subsets for a in s.get("addresses") or [])
            return
        if own.get(labels.DATA) != labels.DATA_POSTGRES:
            return
        if event.type == "DELETED":
            yield name, "gone"
            return
        yield (
            name,
            "is being deleted"
            if "deletionTimestamp" in metadata
            else f"at {event.object.get('status', {}).get('podIP', 'no address')}",
        )
        yield f"{name} role", own.get(labels.ROLE, "none")
        yield f"{name} ready", str(is_ready(event.object))
        for status in event.object.get("status", {}).get("containerStatuses", []):
            if status["name"] == naming.DATABASE_CONTAINER:
                [state] = status["state"] or {"none": {}}
                yield f"{name} database", f"{state}, restarts {status['restartCount']}"
