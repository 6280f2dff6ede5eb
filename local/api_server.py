"""etcd and kube-apiserver, for the local cluster and for the API tests."""

import ipaddress
import json
import random
import socket
import ssl
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from local import kubeconfig
from local.bins import program
from local.console import LocalError
from local.pki import Authority, Identity
from local.processes import Processes
from local.shell import wait_for, write

READY_TIMEOUT = 90.0

_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


@dataclass(frozen=True)
class Settings:
    """Settings of an API server that must stay the same after a restart."""

    address: str
    port: int
    etcd_port: int
    etcd_peer_port: int
    service_range: str
    service_accounts: bool  # needs controllers, which create the default accounts


@dataclass(frozen=True)
class ApiServer:
    """An etcd and a kube-apiserver with their state in one folder."""

    folder: Path

    @property
    def authority(self) -> Authority:
        """Return the CA of this API server."""
        return Authority(self.folder / "pki")

    @property
    def processes(self) -> Processes:
        """Return the processes of this folder."""
        return Processes(self.folder / "processes")

    @property
    def admin(self) -> Path:
        """Return the kubeconfig of the administrator."""
        return self.folder / "admin.kubeconfig"

    @property
    def audit_log(self) -> Path:
        """Return the audit log, one JSON object per finished request."""
        return self.folder / "audit.log"

    @property
    def settings(self) -> Settings:
        """Return the recorded settings."""
        return Settings(**json.loads((self.folder / "api-server.json").read_text()))

    @property
    def url(self) -> str:
        """Return the address that clients use."""
        return f"https://{self.settings.address}:{self.settings.port}"

    def create(self, settings: Settings, names: tuple[str, ...] = ()) -> None:
        """Create certificates and kubeconfig, and start both processes without waiting for them."""
        write(self.folder / "api-server.json", json.dumps(asdict(settings)))
        write(self.folder / "audit-policy.json", json.dumps(_AUDIT_POLICY))
        self.authority.create()
        self._start_etcd()
        first = next(ipaddress.ip_network(settings.service_range).hosts())
        service = [
            ".".join(("kubernetes", "default", "svc", "cluster", "local")[:length]) for length in (1, 2, 3, 5)
        ]
        sans = [f"IP:{address}" for address in ("127.0.0.1", settings.address, first)]
        sans += [f"DNS:{name}" for name in ("localhost", *service, *names)]
        self.authority.issue("apiserver", "kube-apiserver", "kubernetes", sans)
        self.client("admin", "admin", "system:masters")
        self.start_api_server()

    def client(self, name: str, user: str, group: str) -> Path:
        """Create a client certificate and its kubeconfig; return the path of the kubeconfig."""
        return self.client_of(self.authority.issue(name, user, group), self.folder / f"{name}.kubeconfig")

    def client_of(self, identity: Identity, path: Path) -> Path:
        """Write the kubeconfig of an identity."""
        return kubeconfig.create(path, self.url, self.authority, identity)

    def ready(self) -> bool:
        """Return whether the API server is ready; False also when its files are missing."""
        try:
            context = ssl.create_default_context(cafile=str(self.authority.certificate))
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2, context=context) as response:  # noqa: S310
                return bool(response.status == 200)  # noqa: PLR2004
        except (urllib.error.URLError, OSError):
            return False

    def wait(self) -> None:
        """Wait until the API server is ready; LocalError after a timeout or when a process has exited."""

        def check() -> bool:
            self.processes.check(("etcd", "kube-apiserver"))
            return self.ready()

        wait_for("the API server is ready", check, READY_TIMEOUT, 0.1)

    def kill_api_server(self) -> None:
        """Kill the API server; etcd keeps running."""
        self.processes.kill(["kube-apiserver"])

    def start_api_server(self) -> None:
        """Start the API server with its recorded settings, unless it is running."""
        if self.processes.alive("kube-apiserver"):
            return
        settings = self.settings
        # A killed process can hold its port for a moment after its parent has reaped it.
        wait_for(f"port {settings.port} is free", lambda: _is_free(settings.address, settings.port), 20, 0.05)
        pki = self.authority.folder
        accounts = self.authority.service_account_key
        flags = [
            f"--etcd-servers=http://127.0.0.1:{settings.etcd_port}",
            # Only this address: the API server is not reachable from outside the machine.
            f"--bind-address={settings.address}",
            f"--advertise-address={settings.address}",
            f"--secure-port={settings.port}",
            f"--client-ca-file={self.authority.certificate}",
            f"--tls-cert-file={pki / 'apiserver.crt'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
            f"--kubelet-certificate-authority={self.authority.certificate}",
            f"--kubelet-client-certificate={pki / 'admin.crt'}",
            f"--kubelet-client-key={pki / 'admin.key'}",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={accounts}",
            f"--service-account-signing-key-file={accounts}",
            f"--service-cluster-ip-range={settings.service_range}",
            # The API server is not on a node, so it calls webhooks by endpoint, not by Service address.
            "--enable-aggregator-routing=true",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            f"--audit-policy-file={self.folder / 'audit-policy.json'}",
            f"--audit-log-path={self.audit_log}",
            f"--cert-dir={pki}",
            "--v=1",
        ]
        if not settings.service_accounts:
            flags.append("--disable-admission-plugins=ServiceAccount")
        self.processes.start("kube-apiserver", [program("kube-apiserver"), *flags])

    def _start_etcd(self) -> None:
        settings = self.settings
        client, peer = (f"http://127.0.0.1:{port}" for port in (settings.etcd_port, settings.etcd_peer_port))
        command = [
            program("etcd"),
            f"--data-dir={self.folder / 'etcd'}",
            "--unsafe-no-fsync",  # test data need not survive a power failure
            "--log-level=error",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        ]
        self.processes.start("etcd", command)


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind((address, port))
            return True
    return False


# Below the kernel's range for outgoing connections, so that the port is still free when a server restarts.
_PORTS = range(21000, 32000)


def free_ports(count: int) -> list[int]:
    """Return `count` free ports of the loopback interface; LocalError when there are too few."""
    ports: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise LocalError("there are not enough free ports on the loopback interface")
