"""An S3 server over TLS with its own CA: versitygw on this machine behind a Service in the namespace."""

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from local import bins
from local.api_server import free_ports
from local.network import GATEWAY
from pgoperator import pki
from tests.support.kubectl import Kubectl, Manifest, until

BUCKET, KEY, KEY_SECRET, REGION = "backups", "an-access-key", "its-secret-key", "eu-central-1"
SECRET = "s3-access"
NAME = "s3"


@dataclass(frozen=True)
class S3:
    """The S3 server, as clusters of one namespace reach it."""

    kubectl: Kubectl
    folder: Path
    port: int

    @property
    def endpoint(self) -> str:
        """Return its name."""
        return f"{NAME}.{self.kubectl.namespace}.svc"

    def repo(self, name: str = "repo1") -> Manifest:
        """Return a repository of a cluster."""
        return {"name": name, "s3": {"bucket": BUCKET, "endpoint": self.endpoint, "region": REGION}}

    def configuration(self) -> list[Manifest]:
        """Return the projections with its keys and its CA."""
        return [{"secret": {"name": SECRET}}]

    def options(self, name: str = "repo1", path: str = "/pgbackrest/repo1") -> dict[str, str]:
        """Return the `global` options for a cluster that uses the server."""
        return {
            f"{name}-path": path,
            f"{name}-s3-uri-style": "path",
            f"{name}-storage-ca-file": "/etc/pgbackrest/conf.d/s3-ca.crt",
        }

    def add_repo(self, cluster: Manifest, name: str, path: str) -> None:
        """Add a repository in this store to a cluster's manifest."""
        settings = cluster["spec"]["backups"]["pgbackrest"]
        settings["repos"].append(self.repo(name))
        settings["configuration"] = self.configuration()
        settings["global"] = self.options(name, path)

    def route(self, port: int) -> None:
        """Point the Service to another port of this machine."""
        self.kubectl.apply(_endpoints(port))

    def files(self) -> list[str]:
        """Return the paths of all objects in the bucket."""
        root = self.folder / "data" / BUCKET
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@contextmanager
def server(kubectl: Kubectl) -> Iterator[S3]:
    """Run an S3 server, with a Service and a Secret for clusters in the namespace of `kubectl`."""
    folder = Path(tempfile.mkdtemp(prefix="s3-"))
    (folder / "data" / BUCKET).mkdir(parents=True)
    (folder / "metadata").mkdir()
    found = S3(kubectl, folder, *free_ports(1))
    now = datetime.now(UTC)
    authority = pki.new_ca("the tests' S3", now)
    leaf = pki.issue(authority, common_name=found.endpoint, dns_names=[found.endpoint], now=now)
    (folder / "tls.crt").write_bytes(leaf.cert)
    (folder / "tls.key").write_bytes(leaf.key)
    kubectl.apply(*_objects(found, authority.cert.decode()))
    command = [
        *(str(bins.program("versitygw")), "--port", f":{found.port}", "--region", REGION, "--quiet"),
        *("--cert", str(folder / "tls.crt"), "--key", str(folder / "tls.key")),
        # Without metadata the server loses parts of large objects; not every file system has attributes.
        *("posix", "--sidecar", str(folder / "metadata"), str(folder / "data")),
    ]
    environment = os.environ | {"ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": KEY_SECRET}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        until("the S3 server listens", lambda: _listens(found.port), 20)
        yield found
    finally:
        process.terminate()
        process.wait(20)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _objects(found: S3, authority: str) -> list[Manifest]:
    port = {"name": "https", "port": 443}
    # pgBackRest reads files whose names end in .conf.
    text = f"[global]\nrepo1-s3-key={KEY}\nrepo1-s3-key-secret={KEY_SECRET}\n"
    text += f"repo2-s3-key={KEY}\nrepo2-s3-key-secret={KEY_SECRET}\n"
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET},
            "stringData": {"s3.conf": text, "s3-ca.crt": authority},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME},
            "spec": {"ports": [port | {"targetPort": found.port}]},
        },
        _endpoints(found.port),
    ]


def _endpoints(port: int) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": NAME},
        "subsets": [{"addresses": [{"ip": GATEWAY}], "ports": [{"name": "https", "port": port}]}],
    }
