"""Small valid objects to start from."""

from typing import Any


def claim(size: str = "1Gi") -> dict[str, Any]:
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}


def cluster(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "pgv2.percona.com/v2",
        "kind": "PerconaPGCluster",
        "metadata": {"name": "hippo", "namespace": "default"},
        "spec": {
            "postgresVersion": 17,
            "instances": [{"name": "one", "dataVolumeClaimSpec": claim()}],
            "backups": {"pgbackrest": {"repos": [{"name": "repo1", "volume": {"volumeClaimSpec": claim()}}]}},
            **spec,
        },
    }


def backup(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "pgv2.percona.com/v2",
        "kind": "PerconaPGBackup",
        "metadata": {"name": "monday", "namespace": "default"},
        "spec": {"pgCluster": "hippo", "repoName": "repo1", **spec},
    }


def restore(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "pgv2.percona.com/v2",
        "kind": "PerconaPGRestore",
        "metadata": {"name": "back", "namespace": "default"},
        "spec": {"pgCluster": "hippo", "repoName": "repo1", **spec},
    }
