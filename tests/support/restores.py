"""Backups and restores under test."""

import time
from dataclasses import dataclass

from tests.support.clients import Client
from tests.support.clusters import Cluster
from tests.support.kubectl import Manifest, until
from tests.support.tell import tell

BACKUPS, RESTORES = "perconapgbackups", "perconapgrestores"
ENDED = ("Succeeded", "Failed")


def backup(cluster: Cluster, name: str, *options: str, repo: str = "repo1", seconds: float = 120) -> str:
    """Take a backup and return its label."""
    spec: Manifest = {"pgCluster": cluster.name, "repoName": repo, "options": list(options)}
    cluster.kubectl.apply(_manifest("PerconaPGBackup", name, spec))

    def ended() -> Manifest | None:
        status: Manifest = cluster.kubectl.get(BACKUPS, name).get("status", {})
        return status if status.get("state") in ENDED else None

    found = until(f"backup {name} ends", ended, seconds, cluster.explain)
    assert found["state"] == "Succeeded", found
    return str(found["backupName"])


def first_backup(cluster: Cluster, seconds: float = 180) -> str:
    """Wait for the backup that the operator takes by itself and return its label."""

    def label() -> str:
        found = cluster.kubectl.items(BACKUPS, cluster.selector)
        done = [b["status"] for b in found if b.get("status", {}).get("state") == "Succeeded"]
        return str(done[0]["backupName"]) if done else ""

    return str(until("the first backup succeeds", label, seconds, cluster.explain))


def with_backup(cluster: Cluster, client: Client) -> Cluster:
    """Make a cluster, wait for its first backup, and make the table of which restores are judged."""
    cluster.apply()
    cluster.wait_ready()
    first_backup(cluster)
    uri = cluster.credentials()["pgbouncer-uri"]
    client.sql(uri, "CREATE TABLE kept (n int, at timestamptz DEFAULT clock_timestamp())")
    return cluster


def serves(cluster: Cluster, client: Client, rows: int) -> None:
    """Check that everything is as it should be after a restore, and that the table has so many rows."""
    cluster.wait_ready()
    uri = cluster.credentials()["pgbouncer-uri"]
    assert client.sql(uri, "SELECT count(*) FROM kept") == str(rows)
    # Members tell their timeline once in a round only.
    one_timeline = lambda: len({m["TL"] for m in cluster.patronictl()}) == 1  # noqa: E731
    until("all members are on one timeline", one_timeline, 30, cluster.explain)
    members = cluster.patronictl()
    assert sorted(m["Role"] for m in members) == ["Leader", "Replica", "Replica"]
    # Archiving works on the new timeline.
    before = cluster.psql("SELECT archived_count FROM pg_stat_archiver")
    cluster.psql("SELECT pg_switch_wal() FROM (SELECT pg_logical_emit_message(false, 'a', 'b')) a")
    moved = lambda: cluster.psql("SELECT archived_count FROM pg_stat_archiver") != before  # noqa: E731
    until("a segment is archived", moved, 60, cluster.explain)


def count(cluster: Cluster, client: Client) -> int:
    """Return how many rows the table has."""
    return int(client.sql(cluster.credentials()["pgbouncer-uri"], "SELECT count(*) FROM kept"))


def _manifest(kind: str, name: str, spec: Manifest) -> Manifest:
    return {
        "apiVersion": "pgv2.percona.com/v2",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {key: value for key, value in spec.items() if value},
    }


@dataclass
class Restore:
    """A PerconaPGRestore."""

    cluster: Cluster
    name: str
    options: tuple[str, ...] = ()
    repo: str = "repo1"
    began: float = 0.0

    def apply(self) -> "Restore":
        """Ask for it."""
        spec = {"pgCluster": self.cluster.name, "repoName": self.repo, "options": list(self.options)}
        self.cluster.kubectl.apply(_manifest("PerconaPGRestore", self.name, spec))
        self.began = time.monotonic()
        return self

    def status(self) -> Manifest:
        """Return its status."""
        found: Manifest = self.cluster.kubectl.get(RESTORES, self.name).get("status", {})
        return found

    def wait_phase(self, *phases: str, seconds: float = 90) -> None:
        """Wait until it is at one of these phases, or has ended."""
        until(
            f"{self.name} reaches {' or '.join(phases)}",
            lambda: (s := self.status()).get("phase") in phases or s.get("state") in ENDED,
            seconds,
            self.cluster.explain,
            pause=0.1,
        )

    def wait(self, state: str, seconds: float = 180) -> Manifest:
        """Wait for its end, which must be `state`; return the status."""
        until(
            f"{self.name} ends",
            lambda: self.status().get("state") in ENDED,
            seconds,
            lambda: f"{self.status()}\n{self.cluster.explain()}",
        )
        status = self.status()
        assert status["state"] == state, f"{status}\n{self.cluster.explain()}"
        tell(f"restore {self.name}: {state} after {time.monotonic() - self.began:.1f} s")
        return status

    def delete(self, seconds: float = 60) -> None:
        """Delete it and wait until it is gone."""
        self.cluster.kubectl.delete(RESTORES, self.name)
        gone = lambda: self.cluster.kubectl.find(RESTORES, self.name) is None  # noqa: E731
        until(f"{self.name} is gone", gone, seconds, self.cluster.explain)
