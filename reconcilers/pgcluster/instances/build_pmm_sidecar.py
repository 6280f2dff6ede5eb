"""The PMM client: a sidecar container in the pods of instances. Pure.

It runs while `spec.pmm.enabled` is true and its Secret holds a token for PMM 3. Until then the condition
`PMMReady` shows what is missing, and the pods do not change.
"""

from pgoperator import labels, naming
from pgoperator.api.monitoring import PMM
from pgoperator.digest import digest
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.pods import build_pod
from reconcilers.pgcluster.state.view import View

TOKEN = "PMM_SERVER_TOKEN"  # noqa: S105 - the name of a key
PORT, PORTS = 7777, range(30100, 30106)
# Names of the query sources in PMM's programs.
_QUERY_SOURCES = {"pgstatmonitor": "pgstatmonitor", "pgstatstatements": "pgstatements"}
# Separate from the pod's /tmp, which holds the database's socket and programs.
_TMP = {"name": "pmm-tmp", "emptyDir": {}}


def active(view: View) -> PMM | None:
    """The settings, if PMM is enabled and its Secret is valid."""
    return view.cluster.spec.pmm if view.cluster.spec.pmm and flaw(view) is None else None


def flaw(view: View) -> tuple[str, str] | None:
    """Why the PMM client does not run: reason and message of `PMMReady`; None when it runs."""
    pmm = view.cluster.spec.pmm
    if pmm is None or not pmm.enabled:
        return "PMMDisabled", "spec.pmm.enabled is false"
    if not pmm.secret:
        return (
            "PMMSecretNotSpecified",
            "spec.pmm.secret is not set: name a Secret with the key PMM_SERVER_TOKEN",
        )
    secret = view.secrets.get(pmm.secret)
    if secret is None:
        return "PMMSecretNotFound", f"spec.pmm.secret: Secret {pmm.secret!r} does not exist"
    if not secret.get(TOKEN, b"").strip():
        hint = "; PMM_SERVER_KEY is for PMM 2, which is not supported" if "PMM_SERVER_KEY" in secret else ""
        return "PMMSecretInvalid", f"spec.pmm.secret: Secret {pmm.secret!r} has no key {TOKEN}{hint}"
    return None


def annotations(view: View) -> dict[str, str]:
    """Annotations of the pods: they change with the token or the password, which restarts the pods."""
    pmm = active(view)
    if pmm is None:
        return {}
    monitor = view.secrets[view.user_secrets[naming.MONITOR_USER]]
    return {
        labels.PMM_SECRET_HASH: _digest(view.secrets[pmm.secret][TOKEN]),
        # Digest of the verifier, which is salted: a weak password could be guessed from its plain digest.
        labels.MONITOR_SECRET_HASH: _digest(monitor["verifier"]),
    }


def _digest(secret: bytes) -> str:
    return digest(secret, 32)


def volumes(view: View) -> list[Manifest]:
    """The volumes that the sidecar adds to the pod."""
    return [_TMP] if active(view) else []


def containers(view: View, data_mount: Manifest) -> list[Manifest]:
    """The container `pmm-client`, if PMM is active; `data_mount` is the mount of the data volume."""
    pmm = active(view)
    if pmm is None:
        return []
    client = build_pod.container(
        view,
        naming.PMM_CONTAINER,
        pmm.image,
        env=_environment(view, pmm),
        ports=[_port("pmm", PORT), *(_port(f"pmm-{port}", port) for port in PORTS)],
        resources=pmm.resources,
        volumeMounts=[
            {"name": "cert-volume", "mountPath": naming.TLS_PATH, "readOnly": True},
            {**data_mount, "readOnly": True},
            build_pod.SCRIPTS_MOUNT,
            {"name": _TMP["name"], "mountPath": "/tmp"},  # noqa: S108 - inside the container
        ],
        livenessProbe={
            "httpGet": {"path": "/local/Status", "port": "pmm", "scheme": "HTTP"},
            "initialDelaySeconds": 60,
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "successThreshold": 1,
            "failureThreshold": 3,
        },
        lifecycle={"preStop": {"exec": {"command": ["pmm-admin", "unregister", "--force"]}}},
    )
    if pmm.image_pull_policy:
        client["imagePullPolicy"] = pmm.image_pull_policy
    if pmm.container_security_context:
        client["securityContext"] = dict(pmm.container_security_context)
    return [client]


def _port(name: str, number: int) -> Manifest:
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def _environment(view: View, pmm: PMM) -> list[Manifest]:
    spec, prefix = view.cluster.spec, "PMM_AGENT_"
    values = {
        f"{prefix}SERVER_ADDRESS": pmm.server_host,
        f"{prefix}SERVER_USERNAME": "service_token",
        f"{prefix}SERVER_INSECURE_TLS": "1",
        f"{prefix}LISTEN_ADDRESS": "0.0.0.0",  # noqa: S104 - the kubelet probes it
        f"{prefix}LISTEN_PORT": str(PORT),
        f"{prefix}PORTS_MIN": str(PORTS[0]),
        f"{prefix}PORTS_MAX": str(PORTS[-1]),
        f"{prefix}CONFIG_FILE": "/tmp/pmm-agent.yaml",  # noqa: S108 - inside the container
        f"{prefix}PATHS_TEMPDIR": "/tmp/pmm",  # noqa: S108 - inside the container
        f"{prefix}LOG_LEVEL": "info",
        f"{prefix}DEBUG": "false",
        f"{prefix}TRACE": "false",
        f"{prefix}SETUP": "1",
        f"{prefix}SETUP_FORCE": "1",
        f"{prefix}SETUP_NODE_NAME": "$(POD_NAMESPACE)-$(POD_NAME)",
        f"{prefix}SETUP_NODE_TYPE": "container",
        f"{prefix}SETUP_METRICS_MODE": "push",
        f"{prefix}SETUP_PROC_MOUNTS_PATH": "/proc/self/mounts",
        f"{prefix}SIDECAR": "true",
        f"{prefix}SIDECAR_SLEEP": "5",
        f"{prefix}PRERUN_SCRIPT": f"sh {naming.SCRIPTS_PATH}/pmm-prerun.sh",
        "PMM_QUERY_SOURCE": _QUERY_SOURCES[pmm.query_source],
        "PMM_ADMIN_CUSTOM_PARAMS": pmm.postgres_params or "",
        "CLUSTER_NAME": pmm.custom_cluster_name or view.name,
        "PATRONI_PORT": str(spec.patroni.port),
        "DB_TYPE": "postgresql",
        "DB_PORT": str(spec.port),
        "DB_USER": naming.MONITOR_USER,
    }
    return [
        *(_field(name, path) for name, path in (("POD_NAME", "name"), ("POD_NAMESPACE", "namespace"))),
        _secret(f"{prefix}SERVER_PASSWORD", pmm.secret, TOKEN),
        _secret("DB_PASS", view.user_secrets[naming.MONITOR_USER], "password"),
        *({"name": name, "value": value} for name, value in values.items() if value),
    ]


def _field(name: str, path: str) -> Manifest:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.{path}"}}}


def _secret(name: str, secret: str, key: str) -> Manifest:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
