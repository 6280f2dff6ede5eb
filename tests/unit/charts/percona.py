"""Values in the form of Percona's chart pg-db, with the options that users often set."""

from typing import Any

IMAGE = "percona/percona-postgresql-operator:2.6.0-ppg16.8"
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}}
RESOURCES = {"limits": {"cpu": 2.0, "memory": "4Gi"}, "requests": {"cpu": "200m", "memory": "128Mi"}}
TOLERATIONS = [{"effect": "NoSchedule", "key": "role", "operator": "Equal", "value": "databases"}]
EXPOSE = {
    "annotations": {"a": "1"},
    "labels": {"l": "2"},
    "type": "LoadBalancer",
    "loadBalancerSourceRanges": ["10.0.0.0/8"],
}


def spread(key: str, value: str) -> dict[str, Any]:
    term = {
        "labelSelector": {"matchLabels": {f"postgres-operator.crunchydata.com/{key}": value}},
        "topologyKey": "kubernetes.io/hostname",
    }
    preferred = [{"weight": 1, "podAffinityTerm": term}]
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


VALUES: dict[str, Any] = {
    "finalizers": None,
    "crVersion": "2.7.0",
    "repository": "percona/percona-postgresql-operator",
    "image": f"{IMAGE}-postgres",
    "imagePullPolicy": "Always",
    "postgresVersion": 16,
    "port": 5432,
    "pause": False,
    "unmanaged": False,
    "standby": {"enabled": False},
    "metadata": {"annotations": {"example": "value"}, "labels": {"team": "one"}},
    "customTLSSecret": {"name": ""},
    "customReplicationTLSSecret": {"name": ""},
    "customRootCATLSSecret": {
        "name": "cluster1-ca-cert",
        "items": [{"key": "tls.crt", "path": "root.crt"}, {"key": "tls.key", "path": "root.key"}],
    },
    "users": [
        {
            "name": "rhino",
            "databases": ["zoo"],
            "options": "SUPERUSER",
            "password": {"type": "ASCII"},
            "secretName": "rhino-credentials",
        }
    ],
    "databaseInitSQL": {"key": "init.sql", "name": "cluster1-init-sql"},
    "expose": EXPOSE,
    "exposeReplicas": EXPOSE,
    "instances": [
        {
            "name": "instance1",
            "replicas": 3,
            "affinity": spread("data", "postgres"),
            "resources": RESOURCES,
            "containers": {"replicaCertCopy": {"resources": RESOURCES}},
            "sidecars": [{"name": "side", "image": "side:1", "command": ["sleep", "30d"]}],
            "tolerations": TOLERATIONS,
            "priorityClassName": "high-priority",
            "walVolumeClaimSpec": CLAIM,
            "dataVolumeClaimSpec": CLAIM,
            "tablespaceVolumes": [{"name": "user", "dataVolumeClaimSpec": CLAIM}],
        }
    ],
    "proxy": {
        "pgBouncer": {
            "replicas": 3,
            "image": f"{IMAGE}-pgbouncer1.24.0",
            "exposeSuperusers": True,
            "containers": {"pgbouncerConfig": {"resources": RESOURCES}},
            "affinity": spread("role", "pgbouncer"),
            "config": {"global": {"pool_mode": "transaction"}},
        }
    },
    "backups": {
        "enabled": True,
        "trackLatestRestorableTime": True,
        "pgbackrest": {
            "image": f"{IMAGE}-pgbackrest2.54.2",
            "configuration": [{"secret": {"name": "cluster1-pgbackrest-secrets"}}],
            "jobs": {"backoffLimit": 2, "ttlSecondsAfterFinished": 60, "tolerations": TOLERATIONS},
            "global": {"repo1-retention-full": "14", "repo1-retention-full-type": "time"},
            "repoHost": {"affinity": spread("data", "pgbackrest")},
            "manual": {"repoName": "repo1", "options": ["--type=full"]},
            "repos": [
                {
                    "name": "repo1",
                    "schedules": {"full": "0 0 * * 6"},
                    "volume": {"volumeClaimSpec": CLAIM},
                },
                {"name": "repo2", "s3": {"bucket": "b", "endpoint": "e", "region": "r"}},
            ],
        },
    },
    "pmm": {
        "enabled": False,
        "image": {"repository": "percona/pmm-client", "tag": "2.44.0"},
        "serverHost": "monitoring-service",
    },
    "patroni": {
        "syncPeriodSeconds": 10,
        "leaderLeaseDurationSeconds": 30,
        "dynamicConfiguration": {"postgresql": {"parameters": {"max_parallel_workers": 2}}},
        "createReplicaMethods": ["pgbackrest", "basebackup"],
    },
    "extensions": {
        "image": "percona/percona-postgresql-operator:2.6.0",
        "storage": {"type": "s3", "bucket": "pg-extensions", "secret": {"name": "x"}},
        "builtin": {"pg_stat_monitor": True, "pg_audit": True},
        "custom": [{"name": "pg_cron", "version": "1.6.1"}],
    },
    "secrets": {"name": None, "primaryuser": None, "postgres": None, "pgbouncer": None, "pguser": None},
}
