"""Small valid objects to start from."""


def claim(size="1Gi"):
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}


def cluster(**spec):
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


def backup(**spec):
    return {
        "apiVersion": "pgv2.percona.com/v2",
        "kind": "PerconaPGBackup",
        "metadata": {"name": "monday", "namespace": "default"},
        "spec": {"pgCluster": "hippo", "repoName": "repo1", **spec},
    }


def restore(**spec):
    return {
        "apiVersion": "pgv2.percona.com/v2",
        "kind": "PerconaPGRestore",
        "metadata": {"name": "back", "namespace": "default"},
        "spec": {"pgCluster": "hippo", "repoName": "repo1", **spec},
    }
