"""A PerconaPGBackup under test: asked for, waited for, looked for in the repository."""

import json
from typing import Any

from tests.support.clusters import Cluster
from tests.support.kubectl import Manifest, until
from tests.support.restores import BACKUPS, ENDED


def ask(cluster: Cluster, name: str, *options: str, **spec: Any) -> None:
    """Ask for a backup, without waiting."""
    wanted = {"pgCluster": cluster.name, "repoName": "repo1", "options": list(options)} | spec
    cluster.kubectl.apply(
        {
            "apiVersion": "pgv2.percona.com/v2",
            "kind": "PerconaPGBackup",
            "metadata": {"name": name},
            "spec": wanted,
        }
    )


def ended(cluster: Cluster, name: str, seconds: float = 90) -> Manifest:
    """Wait for a backup's end and return its status."""

    def status() -> Manifest | None:
        found: Manifest = cluster.kubectl.get(BACKUPS, name).get("status", {})
        return found if found.get("state") in ENDED else None

    found: Manifest = until(f"backup {name} ends", status, seconds, cluster.explain)
    return found


def in_repository(cluster: Cluster, repo: int = 1) -> set[str]:
    """Return the labels that pgBackRest has."""
    command = ("pgbackrest", "--stanza=db", f"--repo={repo}", "--output=json", "info")
    text = cluster.kubectl.exec(f"{cluster.name}-repo-host-0", *command, container="pgbackrest")
    return {b["label"] for b in json.loads(text)[0]["backup"]}


def gone(cluster: Cluster, name: str) -> bool:
    """Tell whether a backup's object is gone."""
    return cluster.kubectl.find(BACKUPS, name) is None
