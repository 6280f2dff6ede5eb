"""The demo: creates the example cluster, then writes and reads rows through pgBouncer."""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local import bins, install
from local.charts import Charts
from local.console import LocalError, info, step
from local.paths import MANIFESTS
from local.shell import output

# Another namespace than that of the operator of `make up`.
NAMESPACE = "demo"
CLUSTER = "cluster1"
_EXAMPLE = MANIFESTS / "examples" / f"{CLUSTER}.yaml"
_SECRET = f"{CLUSTER}-pguser-{CLUSTER}"
_CERTIFICATES = f"{CLUSTER}-cluster-cert"
_CLIENT = "psql-client"
_INTERVAL = 2.0
_TIMEOUT = 600.0
_LABEL = "postgres-operator.crunchydata.com/cluster"

_SQL = """\
\\set ON_ERROR_STOP on
CREATE TABLE IF NOT EXISTS messages (
    id bigint GENERATED ALWAYS AS IDENTITY, message text, at timestamptz DEFAULT now());
INSERT INTO messages (message) VALUES ('written through pgBouncer');
SELECT id, message, at FROM messages ORDER BY id DESC LIMIT 3;
SELECT current_setting('server_version') AS server, current_user AS "user";
"""


@dataclass(frozen=True)
class Kubectl:
    """kubectl for one cluster in the namespace of the demo."""

    config: Path

    def __call__(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """Run kubectl and return its output."""
        return output(self.command(*arguments), stdin=stdin)

    def json(self, *arguments: str) -> Any:
        """Run `kubectl get` and return the parsed result."""
        return json.loads(self("get", *arguments, "--output=json"))

    def command(self, *arguments: str | Path) -> list[str | Path]:
        """Return the complete command."""
        return [bins.kubectl(), f"--kubeconfig={self.config}", f"--namespace={NAMESPACE}", *arguments]


def run(nodes: int) -> None:
    """Start the local Kubernetes, create the example cluster, wait until it is ready, and use it."""
    if not _EXAMPLE.is_file():
        raise LocalError(f"{_EXAMPLE} is missing")
    charts = Charts(NAMESPACE)
    kubectl = Kubectl(install.up(nodes, charts.operator))
    with step(f"create the PostgreSQL cluster {CLUSTER} in namespace {NAMESPACE}"):
        charts.cluster(kubectl.config, _EXAMPLE)
        _wait(kubectl)
    with step("write and read rows through pgBouncer"):
        rows = _round_trip(kubectl)
    print(rows)
    print(how_to_connect(kubectl.config))


def summary(cluster: dict[str, Any], pods: list[dict[str, Any]]) -> str:
    """Summarize the state of a cluster in one line."""
    status = cluster.get("status", {})
    ready = sum(
        any(
            c["type"] == "Ready" and c["status"] == "True"
            for c in pod.get("status", {}).get("conditions", [])
        )
        for pod in pods
    )
    parts = [f"state: {status.get('state') or 'unknown'}", f"{ready} of {len(pods)} pods ready"]
    # Only conditions that report a missing or a wrong part.
    shown = {
        ("Ready", "False"),
        ("Degraded", "True"),
        ("FieldsIgnored", "True"),
        ("FieldsOverridden", "True"),
    }
    parts += [
        condition["message"]
        for condition in status.get("conditions", [])
        if (condition["type"], condition["status"]) in shown and condition.get("message")
    ]
    return "; ".join(parts)


def how_to_connect(config: Path) -> str:
    """Return the instructions to connect to the database."""
    kubectl = f"kubectl --kubeconfig {config} -n {NAMESPACE}"

    def key(name: str) -> str:
        return (
            f"{kubectl} get secret {_SECRET} -o go-template='{{{{index .data \"{name}\" | base64decode}}}}'"
        )

    return "\n".join(
        [
            "The database is ready. To connect from this machine, run:",
            f"  {kubectl} port-forward service/{CLUSTER}-pgbouncer 5432 &",
            f'  export PGPASSWORD="$({key("password")})"',
            f"  psql 'host=localhost sslmode=require user={CLUSTER} dbname={CLUSTER}'",
            "To print the connection URI for applications in Kubernetes, run:",
            f"  {key('pgbouncer-uri')}",
            "To show the cluster and its pods, run:",
            f"  {kubectl} get pg,pods",
        ]
    )


def client_pod(image: str) -> dict[str, Any]:
    """Return a pod with psql; the Secret sets host, user and password in its environment."""
    keys = {
        "PGHOST": "pgbouncer-host",
        "PGPORT": "pgbouncer-port",
        "PGDATABASE": "dbname",
        "PGUSER": "user",
        "PGPASSWORD": "password",
    }
    environment: list[dict[str, Any]] = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": _SECRET, "key": key}}}
        for name, key in keys.items()
    ]
    environment += [
        {"name": "PGSSLMODE", "value": "verify-full"},
        {"name": "PGSSLROOTCERT", "value": "/certificates/ca.crt"},
        {"name": "PGCONNECT_TIMEOUT", "value": "5"},
    ]
    certificates = {"secretName": _CERTIFICATES, "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    container = {
        "name": "psql",
        "image": image,
        "command": ["sleep", "600"],
        "env": environment,
        "volumeMounts": [{"name": "certificates", "mountPath": "/certificates"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _CLIENT},
        "spec": {
            "containers": [container],
            "volumes": [{"name": "certificates", "secret": certificates}],
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
        },
    }


def _wait(kubectl: Kubectl) -> None:
    deadline = time.monotonic() + _TIMEOUT
    printed = ""
    while True:
        cluster = kubectl.json(f"perconapgclusters.pgv2.percona.com/{CLUSTER}")
        pods = kubectl.json("pods", f"--selector={_LABEL}={CLUSTER}")["items"]
        line = summary(cluster, pods)
        if line != printed:
            info(line)
            printed = line
        if cluster.get("status", {}).get("state") == "ready":
            return
        if time.monotonic() > deadline:
            raise LocalError(f"{CLUSTER} is not ready after {_TIMEOUT:.0f} s ({line})")
        time.sleep(_INTERVAL)


def _round_trip(kubectl: Kubectl) -> str:
    """Write and read rows with psql in a temporary pod."""
    pods = kubectl.json("pods", f"--selector={_LABEL}={CLUSTER}")["items"]
    containers = [container for pod in pods for container in pod["spec"]["containers"]]
    image = next(container["image"] for container in containers if container["name"] == "database")
    delete = ("delete", f"pod/{_CLIENT}", "--ignore-not-found", "--wait")
    kubectl(*delete)
    try:
        kubectl("apply", "--server-side", "--filename=-", stdin=json.dumps(client_pod(image)))
        kubectl("wait", f"pod/{_CLIENT}", "--for=condition=Ready", "--timeout=60s")
        return kubectl("exec", "--stdin", _CLIENT, "--", "psql", "--no-psqlrc", "--file=-", stdin=_SQL)
    finally:
        subprocess.run(list(map(str, kubectl.command(*delete))), capture_output=True, check=False)
