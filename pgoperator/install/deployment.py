"""The operator's own Deployment."""

from pgoperator import __version__
from pgoperator.api import Manifest
from pgoperator.install.rbac import NAME, labels

IMAGE = f"example.invalid/pgoperator:{__version__}"
"""Cannot be resolved: no image is published yet, and an unchanged manifest must not pull a stranger's."""
METRICS_PORT = 8080
HEALTH_PORT = 8081
USER = 65532

RELATED_IMAGES = {
    "RELATED_IMAGE_PGBACKREST": "docker.io/percona/percona-pgbackrest:2.59.0-1",
    "RELATED_IMAGE_PGBOUNCER": "docker.io/percona/percona-pgbouncer:1.25.2-6",
    "RELATED_IMAGE_POSTGRES_14": "docker.io/percona/percona-distribution-postgresql:14.24-1",
    "RELATED_IMAGE_POSTGRES_15": "docker.io/percona/percona-distribution-postgresql:15.19-1",
    "RELATED_IMAGE_POSTGRES_16": "docker.io/percona/percona-distribution-postgresql:16.15-1",
    "RELATED_IMAGE_POSTGRES_17": "docker.io/percona/percona-distribution-postgresql:17.11.1-1",
    "RELATED_IMAGE_POSTGRES_18": "docker.io/percona/percona-distribution-postgresql:18.6.1-1",
}
"""Images for clusters that name none: those in the release notes of Percona's operator 3.1.0. A cluster of
another major version, such as 13 after its end of life, must name an image."""

SETTINGS = {
    "LOG_LEVEL": "INFO",
    "LOG_STRUCTURED": "true",
    "PGO_CONTROLLER_LEADER_ELECTION_ENABLED": "true",
    "PGO_CONTROLLER_LEASE_DURATION": "15s",
    "PGO_CONTROLLER_RENEW_DEADLINE": "10s",
    "PGO_CONTROLLER_RETRY_PERIOD": "2s",
    "PGO_WORKERS": "32",
}


def deployment(*, cluster_wide: bool) -> Manifest:
    """Build the Deployment; the cluster-wide variant watches every namespace."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "labels": labels()},
        "spec": {
            "replicas": 1,
            # A second pod would only wait for the Lease of the first.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels()},
            "template": {
                "metadata": {
                    "labels": labels(),
                    "annotations": {"kubectl.kubernetes.io/default-container": "operator"},
                },
                "spec": {
                    "serviceAccountName": NAME,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 30,
                    # A pod on a lost node is replaced soon: it holds no data.
                    "tolerations": [
                        {
                            "key": f"node.kubernetes.io/{trouble}",
                            "operator": "Exists",
                            "effect": "NoExecute",
                            "tolerationSeconds": 20,
                        }
                        for trouble in ("not-ready", "unreachable")
                    ],
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": USER,
                        "runAsGroup": USER,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [_container(cluster_wide=cluster_wide)],
                },
            },
        },
    }


def _container(*, cluster_wide: bool) -> Manifest:
    return {
        "name": "operator",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "env": environment(cluster_wide=cluster_wide),
        "ports": [
            {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
            {"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"},
        ],
        "livenessProbe": _probe("/healthz", seconds=10),
        "readinessProbe": _probe("/readyz", seconds=5),
        "resources": {"limits": {"memory": "256Mi"}, "requests": {"cpu": "50m", "memory": "96Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
        },
    }


def environment(*, cluster_wide: bool) -> list[Manifest]:
    """Build the variables: where to watch, how to log and elect, which images to use."""
    own_namespace = {"valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}
    fixed = {**SETTINGS, **RELATED_IMAGES}
    return [
        {"name": "WATCH_NAMESPACE", **({"value": ""} if cluster_wide else own_namespace)},
        {"name": "OPERATOR_NAMESPACE", **own_namespace},
        *({"name": name, "value": value} for name, value in sorted(fixed.items())),
    ]


def _probe(path: str, *, seconds: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "health"},
        "periodSeconds": seconds,
        "timeoutSeconds": 3,
        "failureThreshold": 3,
    }
