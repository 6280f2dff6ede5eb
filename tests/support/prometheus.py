"""Debian's Prometheus as a process of this machine with the shipped configuration.

Debian builds Prometheus without Kubernetes service discovery: the tests look the targets up with kubectl and
write them to a file with the same labels. Kubelets get the administrator's certificate instead of a token.
"""

import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from local import host
from local.api_server import free_ports
from tests.support.host_operator import HostOperator
from tests.support.kubectl import REPOSITORY, Kubectl, Manifest, until
from tests.support.operators import Operator, wait_for_end

MONITORING = REPOSITORY / "manifests" / "monitoring"
PACKAGE = {"prometheus": host.TEST_PACKAGES["prometheus"]}
INTERVAL = "2s"
KUBELET = "kubelet"


def alerts() -> list[Manifest]:
    """Return the shipped alerts."""
    rules = yaml.safe_load((MONITORING / "rules.yaml").read_text(encoding="utf-8"))
    return [rule for group in rules["groups"] for rule in group["rules"]]


def shipped_configuration() -> Manifest:
    """Return the shipped configuration."""
    found: Manifest = yaml.safe_load((MONITORING / "prometheus.yaml").read_text(encoding="utf-8"))
    return found


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus that scrapes one namespace every two seconds."""

    kubectl: Kubectl
    operator: Operator
    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, kubectl: Kubectl, operator: Operator) -> "Prometheus":
        """Start Prometheus and wait until it answers; alerts fire without a pending time."""
        host.install_packages(PACKAGE)
        program = shutil.which("prometheus")
        assert program
        folder = Path(tempfile.mkdtemp(prefix="prometheus-"))
        _write_configuration(kubectl, folder)
        [port] = free_ports(1)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    program,
                    f"--config.file={folder}/prometheus.yaml",
                    f"--storage.tsdb.path={folder}/data",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        started = cls(kubectl, operator, folder, port, process)
        started.discover()
        until("Prometheus answers", lambda: started.query("vector(1)"), 60, started.log)
        return started

    def stop(self) -> None:
        """Stop Prometheus and remove its data."""
        wait_for_end(self.process)
        shutil.rmtree(self.folder)

    def log(self) -> str:
        """Return the end of its log."""
        return "--- Prometheus ---\n" + (self.folder / "log").read_text(errors="replace")[-2000:]

    def discover(self) -> None:
        """Write the current pods into the target file."""
        for job in shipped_configuration()["scrape_configs"]:
            if job["job_name"] == KUBELET:
                groups = [{"targets": [address]} for address in kubelets(self.kubectl)]
                _replace(self.folder / f"{KUBELET}.json", json.dumps(groups))
                continue
            selector = job["kubernetes_sd_configs"][0]["selectors"][0]["label"]
            groups = [group for pod in self.kubectl.items("pods", selector) for group in _targets(pod)]
            if job["job_name"] == "pgoperator" and isinstance(self.operator, HostOperator):
                address = f"127.0.0.1:{self.operator.ports[0]}"
                groups = [_target(address, "metrics", self.operator.kubectl.namespace, "host", {})]
            _replace(self.folder / f"{job['job_name']}.json", json.dumps(groups))

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the current series of an expression, or none if Prometheus does not answer."""
        found: list[dict[str, Any]] = self._get("query", query=expression).get("data", {}).get("result", [])
        return found

    def targets(self) -> list[dict[str, Any]]:
        """Return the targets and their health."""
        found: list[dict[str, Any]] = self._get("targets").get("data", {}).get("activeTargets", [])
        return found

    def has_fired(self, alert: str, since: float, **labels: str) -> bool:
        """Return whether an alert has fired since a time (seconds since the epoch)."""
        wanted = {"alertname": alert, "alertstate": "firing", **labels}
        selector = ",".join(f'{name}="{value}"' for name, value in wanted.items())
        seconds = int(time.time() - since)
        return seconds > 0 and bool(self.query(f"count_over_time(ALERTS{{{selector}}}[{seconds}s])"))

    def fires(self, alert: str) -> bool:
        """Return whether an alert is firing."""
        return bool(self.query(f'ALERTS{{alertname="{alert}",alertstate="firing"}}'))

    def _get(self, what: str, **parameters: str) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{what} {parameters}: {error.read().decode()}") from None
        except OSError:
            return {}


def kubelets(kubectl: Kubectl) -> list[str]:
    """Return the addresses of the kubelets."""
    found = [
        (node["status"]["addresses"], node["status"]["daemonEndpoints"]) for node in kubectl.items("nodes")
    ]
    return [
        f"{address['address']}:{ports['kubeletEndpoint']['Port']}"
        for addresses, ports in found
        for address in addresses
        if address["type"] == "InternalIP"
    ]


def _write_configuration(kubectl: Kubectl, folder: Path) -> None:
    configuration = shipped_configuration()
    configuration["global"] = {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL}
    for job in configuration["scrape_configs"]:
        del job["kubernetes_sd_configs"]
        if job["job_name"] == KUBELET:
            del job["authorization"]
            job["tls_config"] |= _administrator(kubectl, folder)
            job["scrape_interval"] = "10s"
        job["file_sd_configs"] = [{"files": [f"{folder}/{job['job_name']}.json"], "refresh_interval": "2s"}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    rules = (MONITORING / "rules.yaml").read_text(encoding="utf-8")
    at_once = re.sub(r"^( +for:) .*$", r"\1 0s", rules, flags=re.MULTILINE)
    # An error of an earlier test must not count for a quarter of an hour.
    (folder / "rules.yaml").write_text(at_once.replace("[15m]", "[1m]"), encoding="utf-8")


def _administrator(kubectl: Kubectl, folder: Path) -> dict[str, str]:
    """Write the certificate and the key of kubectl's user, and the cluster's CA; return their paths."""
    kubeconfig = yaml.safe_load(Path(kubectl.config).read_text(encoding="utf-8"))
    data = kubeconfig["users"][0]["user"] | kubeconfig["clusters"][0]["cluster"]
    files = {
        "cert_file": "client-certificate-data",
        "key_file": "client-key-data",
        "ca_file": "certificate-authority-data",
    }
    for name, key in files.items():
        (folder / name).write_bytes(base64.b64decode(data[key]))
    return {name: str(folder / name) for name in files}


def _targets(pod: Manifest) -> Iterator[Manifest]:
    """Return the targets that Prometheus' service discovery makes of a pod: one for each port."""
    metadata, address = pod["metadata"], pod.get("status", {}).get("podIP")
    if not address or pod["status"]["phase"] in ("Succeeded", "Failed"):
        return
    for container in pod["spec"]["containers"]:
        for port in container.get("ports", []):
            yield _target(
                f"{address}:{port['containerPort']}",
                port.get("name", ""),
                metadata["namespace"],
                metadata["name"],
                metadata.get("labels", {}),
            )


def _target(address: str, port: str, namespace: str, pod: str, labels: dict[str, str]) -> Manifest:
    meta = {"container_port_name": port, "name": pod}
    meta |= {f"label_{re.sub('[^a-zA-Z0-9_]', '_', name)}": value for name, value in labels.items()}
    found = {f"__meta_kubernetes_pod_{name}": value for name, value in meta.items()}
    return {"targets": [address], "labels": found | {"__meta_kubernetes_namespace": namespace}}


def _replace(path: Path, text: str) -> None:
    """Write a file atomically."""
    draft = path.with_suffix(".new")
    draft.write_text(text, encoding="utf-8")
    draft.rename(path)
