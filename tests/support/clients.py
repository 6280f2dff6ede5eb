"""Client pods with psql, Python and openssl, placed where an application runs."""

from dataclasses import dataclass
from pathlib import Path

from local import images
from pgoperator import naming
from tests.support.kubectl import Kubectl, KubectlError, Manifest, is_ready, until

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Client:
    """A pod on a given node that passes the restricted Pod Security Standard."""

    kubectl: Kubectl
    pod: str

    @classmethod
    def start(cls, kubectl: Kubectl, node: str) -> "Client":
        """Start the client pod unless it is running."""
        client = cls(kubectl, f"client-{node}")
        if kubectl.find("pod", client.pod) is None:
            kubectl.apply(_pod(client.pod, node))
        until(f"{client.pod} runs", lambda: is_ready(kubectl.get("pod", client.pod)), 60)
        return client

    def run(self, *command: str, stdin: str | None = None, seconds: float = 60) -> str:
        """Run a command."""
        return self.kubectl.exec(self.pod, *command, stdin=stdin, seconds=seconds)

    def sql(self, uri: str, query: str, **settings: str) -> str:
        """Run SQL over the network with psql; `settings` are libpq's environment variables."""
        # The URI holds a password: pass it on standard input, because the process list shows arguments.
        exports = {"PGCONNECT_TIMEOUT": "10"} | settings
        lines = [f"export {key}='{value}'" for key, value in exports.items()]
        script = "; ".join(["read -r uri", *lines, 'psql --no-psqlrc -qAt -v ON_ERROR_STOP=1 -d "$uri" -f -'])
        return self.run("bash", "-c", script, stdin=f"{uri}\n{query}\n", seconds=180).strip()

    def refused(self, uri: str, query: str = "SELECT 1", **settings: str) -> str:
        """Run SQL that must fail; return psql's error."""
        try:
            answer = self.sql(uri, query, **settings)
        except KubectlError as error:
            return str(error)
        raise AssertionError(f"the login succeeded and returned {answer!r}")

    def first_login(self, uri: str, seconds: int) -> float:
        """Retry until a login succeeds; return its time in seconds since the epoch."""
        loop = 'until psql --no-psqlrc -qAtc "SELECT 1" -d "$uri" >/dev/null 2>&1; do sleep 0.05; done'
        script = (
            f"read -r uri; export uri PGCONNECT_TIMEOUT=5; timeout {seconds} bash -c '{loop}' && date +%s.%N"
        )
        return float(self.run("bash", "-c", script, stdin=f"{uri}\n", seconds=seconds + 10))

    def write(self, path: str, text: str) -> None:
        """Write a file."""
        self.run("bash", "-c", 'cat > "$0"', path, stdin=text)

    def fingerprint(self, host: str, port: int = 5432) -> str:
        """Return the fingerprint of the certificate that PostgreSQL or pgBouncer presents."""
        script = (
            f"openssl s_client -starttls postgres -connect {host}:{port} </dev/null 2>/dev/null"
            " | openssl x509 -noout -fingerprint -sha256"
        )
        return self.run("bash", "-c", script).strip().rpartition("=")[2]

    def fingerprint_of(self, pem: str) -> str:
        """Return the fingerprint of a certificate."""
        return (
            self.run("openssl", "x509", "-noout", "-fingerprint", "-sha256", stdin=pem)
            .strip()
            .rpartition("=")[2]
        )


def scripts() -> str:
    """Return the source of the writer."""
    return (_FOLDER / "writer.py").read_text(encoding="utf-8")


def pooler_host(cluster: str, namespace: str) -> str:
    """Return the host name of a cluster's pgBouncer."""
    return f"{naming.pgbouncer(cluster)}.{namespace}.svc"


def _pod(name: str, node: str) -> Manifest:
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "client"}},
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            # The pod's pause process reaps the orphans of a client.
            "shareProcessNamespace": True,
            "containers": [
                {
                    "name": "client",
                    "image": images.POSTGRES,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sleep", "infinity"],
                    "env": [{"name": "HOME", "value": "/tmp"}],
                    "securityContext": security,
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                }
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }
