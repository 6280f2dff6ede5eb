"""Create a PerconaPGBackup, wait for it, and look it up in the repository."""

import json
from typing import Any

from tests.support.clusters import Cluster
from tests.support.kubectl import Manifest, until

BACKUPS = "perconapgbackups"
ENDED = ("Succeeded", "Failed")
"""States of backups and restores."""


def manifest(kind: str, name: str, spec: Manifest) -> Manifest:
    """Return the manifest of a backup or a restore, without empty fields."""
    return {
        "apiVersion": "pgv2.percona.com/v2",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {key: value for key, value in spec.items() if value},
    }


def ask(cluster: Cluster, name: str, *options: str, **spec: Any) -> None:
    """Create a backup object without waiting for the backup."""
    wanted = {"pgCluster": cluster.name, "repoName": "repo1", "options": list(options)} | spec
    cluster.kubectl.apply(manifest("PerconaPGBackup", name, wanted))


def ended(cluster: Cluster, name: str, seconds: float = 120) -> Manifest:
    """Wait for a backup's end and return its status."""

    def status() -> Manifest | None:
        found: Manifest = cluster.kubectl.get(BACKUPS, name).get("status", {})
        return found if found.get("state") in ENDED else None

    found: Manifest = until(f"backup {name} ends", status, seconds, cluster.explain)
    return found


def backup(cluster: Cluster, name: str, *options: str, repo: str = "repo1", seconds: float = 120) -> str:
    """Take a backup and return its label."""
    ask(cluster, name, *options, repoName=repo)
    return backed_up(cluster, name, seconds)


def backed_up(cluster: Cluster, name: str, seconds: float = 120) -> str:
    """Wait until a backup has succeeded and return its label."""
    found = ended(cluster, name, seconds)
    assert found["state"] == "Succeeded", found
    return str(found["backupName"])


def first_backup(cluster: Cluster, seconds: float = 180) -> str:
    """Wait for the initial backup, which the operator takes, and return its label."""

    def label() -> str:
        found = cluster.kubectl.items(BACKUPS, cluster.selector)
        done = [b["status"] for b in found if b.get("status", {}).get("state") == "Succeeded"]
        return str(done[0]["backupName"]) if done else ""

    return str(until("the first backup succeeds", label, seconds, cluster.explain))


def in_repository(cluster: Cluster, repo: int = 1) -> set[str]:
    """Return the labels of the backups in the repository."""
    command = ("pgbackrest", "--stanza=db", f"--repo={repo}", "--output=json", "info")
    text = cluster.kubectl.exec(f"{cluster.name}-repo-host-0", *command, container="pgbackrest")
    return {b["label"] for b in json.loads(text)[0]["backup"]}


def gone(cluster: Cluster, name: str) -> bool:
    """Return whether the backup object no longer exists."""
    return cluster.kubectl.find(BACKUPS, name) is None
