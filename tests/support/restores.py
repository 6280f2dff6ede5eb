"""Restores under test and their clusters."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.backups import BACKUPS, ENDED, first_backup, manifest
from tests.support.clients import Client
from tests.support.clusters import Cluster, example
from tests.support.kubectl import Manifest, until
from tests.support.output import emit

RESTORES = "perconapgrestores"


def cluster_with_rows(make: Callable[..., Cluster], client: Client, name: str, instances: int = 3) -> Cluster:
    """Create a cluster with a backup and a table `kept` that is newer than the backup."""
    made = make(example(name, instances=instances, poolers=1))
    made.apply()
    made.wait_ready()
    first_backup(made)
    uri = made.credentials()["pgbouncer-uri"]
    client.sql(uri, "CREATE TABLE kept AS SELECT generate_series(1, 100) AS n")
    return made


def add(cluster: Cluster, client: Client, rows: int) -> None:
    """Insert and commit so many rows."""
    uri = cluster.credentials()["pgbouncer-uri"]
    client.sql(uri, f"INSERT INTO kept SELECT generate_series(1, {rows})")


def count(cluster: Cluster, client: Client) -> int:
    """Return the number of rows."""
    return int(client.sql(cluster.credentials()["pgbouncer-uri"], "SELECT count(*) FROM kept"))


def identities(cluster: Cluster) -> dict[str, str]:
    """Return the instances' pods: equal values before and after mean that none was stopped."""
    return {p["metadata"]["name"]: p["metadata"]["uid"] for p in cluster.instances()}


def timeline(cluster: Cluster) -> int:
    """Return the timeline of the primary."""
    return int(cluster.psql("SELECT timeline_id FROM pg_control_checkpoint()"))


def serves(cluster: Cluster, client: Client, rows: int) -> None:
    """Assert that the cluster is healthy after a restore and that the table has so many rows."""
    cluster.wait_ready()
    assert count(cluster, client) == rows
    wanted = ["Leader", *["Replica"] * (len(cluster.instances()) - 1)]

    # Members report their role and timeline once per loop.
    def united() -> bool:
        members = cluster.patronictl()
        return sorted(m["Role"] for m in members) == wanted and len({m["TL"] for m in members}) == 1

    until("all members follow the primary on one timeline", united, 30, cluster.explain)
    # Archiving works on the new timeline.
    before = cluster.psql("SELECT archived_count FROM pg_stat_archiver")
    cluster.psql("SELECT pg_switch_wal() FROM (SELECT pg_logical_emit_message(false, 'a', 'b')) a")

    def moved() -> bool:
        return cluster.psql("SELECT archived_count FROM pg_stat_archiver") != before

    until("a segment is archived", moved, 60, cluster.explain)


@dataclass
class Restore:
    """A PerconaPGRestore."""

    cluster: Cluster
    name: str
    options: tuple[str, ...] = ()
    repo: str = "repo1"
    began: float = field(default_factory=time.monotonic)

    def apply(self) -> "Restore":
        """Create the object."""
        spec = {"pgCluster": self.cluster.name, "repoName": self.repo, "options": list(self.options)}
        self.cluster.kubectl.apply(manifest("PerconaPGRestore", self.name, spec))
        self.began = time.monotonic()
        return self

    def status(self) -> Manifest:
        """Return its status."""
        found: Manifest = self.cluster.kubectl.get(RESTORES, self.name).get("status", {})
        return found

    def wait_phase(self, *phases: str, seconds: float = 90) -> None:
        """Wait until the restore is in one of these phases or has ended."""
        until(
            f"{self.name} reaches {' or '.join(phases)}",
            lambda: (s := self.status()).get("phase") in phases or s.get("state") in ENDED,
            seconds,
            self.cluster.explain,
            pause=0.2,
        )

    def wait(self, state: str, seconds: float = 180) -> Manifest:
        """Wait until the restore ends with `state`; return the status."""
        until(
            f"{self.name} ends",
            lambda: self.status().get("state") in ENDED,
            seconds,
            lambda: f"{self.status()}\n{self.cluster.explain()}",
        )
        status = self.status()
        assert status["state"] == state, f"{status}\n{self.cluster.explain()}"
        emit(f"restore {self.name}: {state} after {time.monotonic() - self.began:.1f} s")
        return status

    def wait_backup(self, seconds: float = 120) -> None:
        """Wait for the backup that follows a successful restore."""
        ended = self.status()["completed"]

        def after() -> Any:
            return [
                b
                for b in self.cluster.kubectl.items(BACKUPS, self.cluster.selector)
                if b.get("status", {}).get("state") == "Succeeded" and b["status"]["completed"] > ended
            ]

        until(f"a fresh backup follows {self.name}", after, seconds, self.cluster.explain)

    def delete(self, seconds: float = 60) -> None:
        """Delete the object and wait until it is gone."""
        self.cluster.kubectl.delete(RESTORES, self.name)

        def gone() -> bool:
            return self.cluster.kubectl.find(RESTORES, self.name) is None

        until(f"{self.name} is gone", gone, seconds, self.cluster.explain)
