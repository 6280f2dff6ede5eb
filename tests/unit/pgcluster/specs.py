"""Specs to hold laws against: the variants that somebody would think of, and random ones."""

import copy
import random
import string
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.support.views import CLAIM

Spec = dict[str, Any]

ZONE = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}
            ]
        }
    }
}
TOLERATION = {"key": "dedicated", "operator": "Equal", "value": "db", "effect": "NoSchedule"}
RESOURCES = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
SPREAD = {
    "maxSkew": 2,
    "topologyKey": "rack",
    "whenUnsatisfiable": "DoNotSchedule",
    "labelSelector": {"matchLabels": {"a": "b"}},
}
S3 = {"bucket": "backups", "endpoint": "s3.example", "region": "eu-1"}


def instances(**fields: Any) -> list[Spec]:
    """One set of one instance."""
    return [{"name": "instance1", "replicas": 1, "dataVolumeClaimSpec": CLAIM, **fields}]


def pooler(**fields: Any) -> Spec:
    """A proxy with these fields."""
    return {"pgBouncer": {"replicas": 2, **fields}}


def backups(*repos: Spec, **fields: Any) -> Spec:
    """Backups with these repositories (by default one volume) and fields of `pgbackrest`."""
    volume = {"name": "repo1", "volume": {"volumeClaimSpec": CLAIM}}
    return {"pgbackrest": {"repos": list(repos) or [volume], **fields}}


PLACED: Spec = {
    "affinity": ZONE,
    "tolerations": [TOLERATION],
    "resources": RESOURCES,
    "priorityClassName": "high",
    "topologySpreadConstraints": [SPREAD],
    "metadata": {"labels": {"team": "a"}, "annotations": {"note": "x y"}},
}
_HOST = {key: value for key, value in PLACED.items() if key != "metadata"}
CAREFUL = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def helper(name: str, *mounts: str, **fields: Any) -> Spec:
    """A container of the user that mounts each of these volumes under its name."""
    return {
        "name": name,
        "image": "mine/helper:1",
        "securityContext": CAREFUL,
        "ports": [],
        "volumeMounts": [{"name": mount, "mountPath": f"/{mount}"} for mount in mounts],
        **fields,
    }


# Everything that an instance set takes besides what it is made of.
ADDED: Spec = {
    "env": [{"name": "TZ", "value": "UTC"}],
    "initContainers": [helper("prepare", "shared")],
    "sidecars": [
        helper("tail", "shared", "cluster1-notes", "postgres-data", env=[{"name": "A", "value": "b"}])
    ],
    "sidecarVolumes": [{"name": "shared", "emptyDir": {}}],
    "sidecarPVCs": [{"name": "cluster1-notes", "spec": CLAIM}],
    "extraVolumes": [
        {
            "name": "dictionaries",
            "volumeSource": {"emptyDir": {"sizeLimit": "1Mi"}},
            "mounts": [
                {"mountPath": "/dictionaries", "readOnly": True},
                {"mountPath": "/more", "subPath": "m"},
            ],
        }
    ],
    "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
}
_TWO_SETS = [
    {"name": "big", "replicas": 2, "dataVolumeClaimSpec": CLAIM, **PLACED},
    {"name": "small", "replicas": 1, "dataVolumeClaimSpec": CLAIM, "minAvailable": 1},
]

VARIANTS: dict[str, Spec] = {
    "default": {},
    "one-instance": {"instances": instances()},
    "two-sets": {"instances": _TWO_SETS},
    "sets-without-names": {"instances": [{"replicas": 2, "dataVolumeClaimSpec": CLAIM}]},
    "no-pooler": {"proxy": None},
    "pooler-of-0": {"proxy": pooler(replicas=0)},
    "placed-pooler": {"proxy": pooler(**PLACED, minAvailable="50%")},
    "pooler-config": {
        "proxy": pooler(
            exposeSuperusers=True,
            config={
                "global": {"pool_mode": "transaction"},
                "databases": {"app": "host=elsewhere"},
                "users": {"app": "pool_mode=session"},
            },
        )
    },
    "pooler-added": {
        "proxy": pooler(
            paused=True,
            customTLSSecret={"name": "mine"},
            usersSecret={"name": "accounts"},
            config={
                "files": [
                    {"configMap": {"name": "whole"}},
                    {"secret": {"name": "one", "items": [{"key": "k", "path": "ldap/ca.crt"}]}},
                ]
            },
            env=[{"name": "TZ", "value": "UTC"}],
            envFrom=[{"secretRef": {"name": "environment", "optional": True}}],
            sidecars=[helper("exporter", "scratch", "spool")],
            sidecarVolumes=[{"name": "scratch", "emptyDir": {}}],
            sidecarPVCs=[{"name": "spool", "spec": CLAIM}],
        )
    },
    "pooler-own-ini": {
        "proxy": pooler(
            config={
                "files": [{"configMap": {"name": "one", "items": [{"key": "k", "path": "pgbouncer.ini"}]}}]
            }
        )
    },
    "authentication": {
        "tlsOnly": True,
        "authentication": {
            "rules": [
                {"connection": "host", "method": "scram-sha-256", "databases": ["app"], "users": ["app"]},
                {
                    "connection": "hostssl",
                    "method": "ldap",
                    "options": {"ldapserver": "ldap.example", "ldapport": 636},
                },
                {"connection": "x", "method": "x", "hba": "host all all 10.0.0.0/8 reject"},
            ]
        },
    },
    "no-backups": {"backups": {"enabled": False}},
    "s3-only": {
        "backups": backups(
            {"name": "repo1", "s3": S3},
            configuration=[{"secret": {"name": "cluster1-pgbackrest-secrets"}}],
            **{"global": {"repo1-retention-full": "3", "repo1-s3-uri-style": "path"}},
        )
    },
    "all-repos": {
        "backups": backups(
            {"name": "repo4", "azure": {"container": "c"}},
            {"name": "repo2", "s3": S3},
            {"name": "repo3", "gcs": {"bucket": "b"}},
            {"name": "repo1", "volume": {"volumeClaimSpec": CLAIM}},
        )
    },
    "placed-repo-host": {
        "backups": backups(
            repoHost=_HOST,
            metadata=PLACED["metadata"],
            image="mine/pgbackrest:1",
            containers={"pgbackrest": {"resources": RESOURCES}},
        )
    },
    "ports": {"port": 6000, "proxy": pooler(port=6001), "patroni": {"port": 6002}},
    "load-balancer": {
        "expose": {
            "type": "LoadBalancer",
            "loadBalancerClass": "example/lb",
            "loadBalancerSourceRanges": ["10.0.0.0/8", "192.0.2.0/24"],
            "annotations": {"lb/internal": "true"},
            "labels": {"exposed": "yes"},
        },
        "exposeReplicas": {
            "type": "LoadBalancer",
            "loadBalancerClass": "example/lb",
            "loadBalancerSourceRanges": ["10.1.0.0/16"],
        },
        "proxy": pooler(
            expose={
                "type": "LoadBalancer",
                "loadBalancerClass": "example/lb",
                "loadBalancerSourceRanges": ["10.2.0.0/16"],
                "nodePort": 30003,
                "annotations": {"lb/name": "pool"},
            }
        ),
    },
    "node-port": {
        "expose": {"type": "NodePort", "nodePort": 30001},
        "exposeReplicas": {"type": "NodePort"},
        "proxy": pooler(expose={"type": "NodePort", "nodePort": 30002}),
    },
    "images": {
        "image": "mine/postgres:17",
        "imagePullPolicy": "Always",
        "imagePullSecrets": [{"name": "registry"}, {"name": "other"}],
        "proxy": pooler(image="mine/pgbouncer:1"),
    },
    "openshift": {"openshift": True},
    "own-security": {
        "instances": instances(securityContext={"fsGroup": 1000, "supplementalGroups": [2000]}),
        "proxy": pooler(securityContext={"runAsUser": 1001}),
    },
    "metadata": {
        "metadata": {"labels": {"team": "data", "tier": "1"}, "annotations": {"contact": "a@b.example"}}
    },
    "patroni": {
        "patroni": {
            "leaderLeaseDurationSeconds": 20,
            "syncPeriodSeconds": 5,
            "dynamicConfiguration": {
                "synchronous_mode": True,
                "retry_timeout": 5,
                "watchdog": {"mode": False},
                "postgresql": {
                    "use_slots": True,
                    "parameters": {"work_mem": "8MB", "max_connections": 50, "shared_preload_libraries": "x"},
                    "pg_hba": ["host all all 10.0.0.0/8 scram-sha-256"],
                },
            },
        }
    },
    "failover-slots": {
        "config": {"parameters": {"sync_replication_slots": "on"}},
        "patroni": {"dynamicConfiguration": {"ignore_slots": [{"name": "mine", "type": "physical"}]}},
    },
    "copies": {
        "patroni": {
            "createReplicaMethods": ["basebackup"],
            "removeDataDirectoryOnDivergedTimelines": True,
        }
    },
    "extensions": {"extensions": {"pg_stat_statements": {"enabled": True}, "pg_audit": {"enabled": False}}},
    "huge-pages": {"instances": instances(resources={"limits": {"hugepages-2Mi": "64Mi", "memory": "1Gi"}})},
    "budgets": {
        "instances": instances(replicas=3, minAvailable="50%"),
        "proxy": pooler(replicas=3, minAvailable=0),
    },
    "users": {
        "users": [
            {"name": "app", "databases": ["app", "other"], "grantPublicSchemaAccess": True},
            {"name": "reader", "secretName": "reader-secret", "password": {"type": "AlphaNumeric"}},
            {"name": "postgres"},
        ]
    },
    "no-users": {"users": []},
    "pmm": {
        "pmm": {
            "enabled": True,
            "image": "percona/pmm-client:3",
            "secret": "pmm",
            "serverHost": "pmm.example",
            "querySource": "pgstatstatements",
            "postgresParams": "--environment=dev",
            "resources": RESOURCES,
        }
    },
    "version": {"crVersion": "3.1.0"},
    "files": {
        "instances": instances(),
        "config": {
            "files": [{"secret": {"name": "directory", "items": [{"key": "ca", "path": "ldap/ca.crt"}]}}]
        },
    },
    "volumes": {
        "instances": instances(
            walVolumeClaimSpec=CLAIM,
            tablespaceVolumes=[{"name": "cold", "dataVolumeClaimSpec": CLAIM}],
        )
    },
    "added": {
        "instances": instances(**ADDED),
        "backups": backups(
            env=[{"name": "HTTPS_PROXY", "value": "http://proxy.example"}],
            repoHost={
                "sidecars": [helper("copy", "cluster1-notes")],
                "sidecarPVCs": [{"name": "cluster1-notes", "spec": CLAIM}],
            },
        ),
    },
}

SEEDS = range(25)


def _maybe(draw: random.Random, spec: Spec, key: str, make: Callable[[], Any]) -> None:
    if draw.random() < 0.5:
        spec[key] = make()


def _word(draw: random.Random, most: int) -> str:
    """A DNS label that begins with a letter."""
    inner = "".join(
        draw.choice(string.ascii_lowercase + string.digits + "-") for _ in range(draw.randint(0, most - 2))
    )
    return draw.choice(string.ascii_lowercase) + inner + draw.choice(string.ascii_lowercase + string.digits)


def _workload(draw: random.Random) -> Spec:
    spec: Spec = {}
    for key, value in PLACED.items():
        _maybe(draw, spec, key, partial(copy.deepcopy, value))
    return spec


def _expose(draw: random.Random) -> Spec:
    spec: Spec = {"type": draw.choice(["ClusterIP", "NodePort", "LoadBalancer"])}
    if spec["type"] != "ClusterIP":
        _maybe(draw, spec, "nodePort", lambda: draw.randint(30000, 32767))
    _maybe(draw, spec, "loadBalancerClass", lambda: "example/lb")
    _maybe(draw, spec, "loadBalancerSourceRanges", lambda: ["10.0.0.0/8"])
    _maybe(draw, spec, "annotations", lambda: {"a/b": "c"})
    _maybe(draw, spec, "labels", lambda: {"exposed": "yes"})
    return spec


def _repo(draw: random.Random, number: int) -> Spec:
    storage: Spec = draw.choice(
        [
            {"volume": {"volumeClaimSpec": CLAIM}},
            {"s3": S3},
            {"gcs": {"bucket": "b"}},
            {"azure": {"container": "c"}},
        ]
    )
    return {"name": f"repo{number}", **storage}


def _backups(draw: random.Random) -> Spec:
    if draw.random() < 0.2:
        return {"enabled": False}
    host = {key: value for key, value in _workload(draw).items() if key != "metadata"}
    repos = [_repo(draw, number) for number in draw.sample(range(1, 5), draw.randint(1, 4))]
    return backups(*repos, repoHost=host)


def random_cluster(seed: int) -> tuple[str, Spec]:
    """A name and a spec, the same for the same seed."""
    draw = random.Random(seed)
    name = _word(draw, 20)
    sets = {_word(draw, 12) for _ in range(draw.randint(1, 3))}
    spec: Spec = {
        "instances": [
            {"name": one, "replicas": draw.randint(1, 3), "dataVolumeClaimSpec": CLAIM, **_workload(draw)}
            for one in sorted(sets)
        ],
        "backups": _backups(draw),
        "proxy": None,
        "port": draw.choice([5432, 1024, 65535]),
    }
    _maybe(
        draw,
        spec,
        "proxy",
        lambda: pooler(**_workload(draw), port=draw.choice([5432, 6432]), expose=_expose(draw)),
    )
    _maybe(draw, spec, "expose", lambda: _expose(draw))
    _maybe(draw, spec, "exposeReplicas", lambda: _expose(draw))
    _maybe(draw, spec, "openshift", lambda: draw.random() < 0.5)
    _maybe(draw, spec, "imagePullPolicy", lambda: draw.choice(["Always", "IfNotPresent", "Never"]))
    _maybe(draw, spec, "imagePullSecrets", lambda: [{"name": "registry"}])
    _maybe(draw, spec, "metadata", lambda: {"labels": {"x": "y"}, "annotations": {"n": "m"}})
    _maybe(draw, spec, "crVersion", lambda: draw.choice(["", "3.1.0", "2.8.1-rc.1", "3.1.0+build.5"]))
    return name, spec
