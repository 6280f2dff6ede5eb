"""The operator, installed from the bundle into a namespace of the test."""

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from local import cluster as kubernetes
from local import images, install
from tests.support.kubectl import REPOSITORY, Kubectl, Manifest, is_ready, until

DEPLOYMENT = ACCOUNT = "percona-postgresql-operator"
CONTAINER = "operator"
BUNDLE = REPOSITORY / "manifests" / "bundle.yaml"


@cache
def _bundle(config: str) -> tuple[list[Manifest], list[Manifest]]:
    """Return the definitions and the other objects of the bundle, with locally built images."""
    text = Kubectl(config).run("create", "--dry-run=client", "--output=json", f"--filename={BUNDLE}")
    objects = install.objects_of(text)
    digest = images.recorded_digest(images.ALL[images.OPERATOR])
    objects = install.with_local_images(objects, digest)
    definitions = [o for o in objects if o["kind"] == "CustomResourceDefinition"]
    return definitions, [o for o in objects if o["kind"] not in ("CustomResourceDefinition", "Namespace")]


@cache
def provide() -> None:
    """Start the local Kubernetes if it is not running, and load images of the current sources."""
    on_host = os.environ.get("E2E_OPERATOR") == "host"
    wanted = (images.PGBOUNCER_IMAGE, images.POSTGRES, *(() if on_host else (images.OPERATOR,)))
    if not (kubernetes.SERVER.folder / "cluster.json").exists() or not kubernetes.SERVER.ready():
        kubernetes.up(3, wanted)
        return
    images.build(wanted)
    for node in kubernetes.nodes_of_state():
        node.containerd.import_images(images.ALL[name] for name in wanted)


@cache
def _ensure_definitions(config: str) -> None:
    definitions, _ = _bundle(config)
    kubectl = Kubectl(config)
    kubectl.apply(*definitions)
    names = [f"customresourcedefinition/{d['metadata']['name']}" for d in definitions]
    kubectl.run("wait", "--for=condition=Established", "--timeout=30s", *names)


def cluster_wide(kubectl: Kubectl) -> str | None:
    """Return the namespace of an operator that watches all namespaces and would conflict with another."""
    found = json.loads(kubectl.run("get", "deployments", "--all-namespaces", "--output=json"))["items"]
    for item in found:
        if item["metadata"]["name"] != DEPLOYMENT:
            continue
        env = item["spec"]["template"]["spec"]["containers"][0].get("env", [])
        watched: Manifest = next((e for e in env if e["name"] == "WATCH_NAMESPACE"), {})
        if not watched.get("value") and "valueFrom" not in watched:
            return str(item["metadata"]["namespace"])
    return None


def objects(kubectl: Kubectl) -> list[Manifest]:
    """Return the objects that the bundle installs into the namespace of `kubectl`."""
    _ensure_definitions(kubectl.config)
    found: list[Manifest] = json.loads(json.dumps(_bundle(kubectl.config)[1]))
    for item in found:
        item["metadata"]["namespace"] = kubectl.namespace
        for subject in item.get("subjects", []):
            subject["namespace"] = kubectl.namespace
    return found


def product_images(major: int) -> dict[str, str]:
    """Return the environment variables that name the locally built images."""
    return {
        f"RELATED_IMAGE_POSTGRES_{major}": images.POSTGRES,
        "RELATED_IMAGE_PGBOUNCER": images.PGBOUNCER_IMAGE,
        "RELATED_IMAGE_PGBACKREST": images.POSTGRES,
    }


@dataclass(frozen=True)
class Operator:
    """An installed operator; `kubectl` works in its namespace."""

    kubectl: Kubectl

    @classmethod
    def install(cls, kubectl: Kubectl) -> "Operator":
        """Install an operator into the namespace of `kubectl`, unless a cluster-wide operator runs."""
        if (found := cluster_wide(kubectl)) is not None:
            return cls(kubectl.within(found))
        kubectl.apply(*objects(kubectl))
        operator = cls(kubectl)
        operator.wait()
        return operator

    def wait(self) -> None:
        """Wait for a ready pod."""
        until("the operator is ready", self.is_ready, 60, self.log)

    def is_ready(self) -> bool:
        """Return whether there is one pod and it is ready."""
        pods = self._pods()
        return len(pods) == 1 and is_ready(pods[0])

    def _pods(self) -> list[Manifest]:
        labels = self.kubectl.get("deployment", DEPLOYMENT)["spec"]["selector"]["matchLabels"]
        return self.kubectl.items("pods", ",".join(f"{k}={v}" for k, v in labels.items()))

    def pod(self) -> Manifest:
        """Return the one pod that is not being deleted."""
        pods = [p for p in self._pods() if "deletionTimestamp" not in p["metadata"]]
        assert len(pods) == 1, [p["metadata"]["name"] for p in pods]
        return pods[0]

    def node(self) -> str:
        """Return its node; an operator on this machine has none."""
        return str(self.pod().get("spec", {}).get("nodeName", ""))

    @property
    def user(self) -> str:
        """Return its name in the audit log."""
        account = self.kubectl.get("deployment", DEPLOYMENT)["spec"]["template"]["spec"]["serviceAccountName"]
        return f"system:serviceaccount:{self.kubectl.namespace}:{account}"

    def restart_count(self) -> int:
        """Return the restart count of its container."""
        return sum(c["restartCount"] for c in self.pod()["status"].get("containerStatuses", []))

    def log(self, lines: int = 60) -> str:
        """Return the end of its log and of the log of its previous container."""
        now = self.kubectl.logs(f"deployment/{DEPLOYMENT}", f"--tail={lines}")
        before = self.kubectl.logs(f"deployment/{DEPLOYMENT}", f"--tail={lines}", "--previous")
        return f"--- operator ---\n{now}\n" + (
            f"--- before its restart ---\n{before}" if "level" in before else ""
        )

    def pids(self) -> list[int]:
        """Return the ids of its processes on this machine."""
        statuses = self.pod()["status"].get("containerStatuses", [])
        ids = [s["containerID"].removeprefix("containerd://") for s in statuses if s.get("containerID")]
        return [pid for pid in _pids() if any(i in _read(f"/proc/{pid}/cgroup") for i in ids)]

    def stop(self) -> None:
        """Do nothing: the operator is deleted with its namespace."""

    def kill(self) -> None:
        """Kill it as a crash of its node would: no signal handler runs, and another pod replaces it."""
        name = self.pod()["metadata"]["name"]
        pids = self.pids()
        assert pids, "the operator has no process on this machine"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.kubectl.delete("pod", name, "--grace-period=0", "--force")

    @contextmanager
    def away(self) -> Iterator[None]:
        """Run no operator until the context ends."""
        self.kubectl.run("scale", "deployment", DEPLOYMENT, "--replicas=0")
        try:
            until("the operator is gone", lambda: not self._pods(), 60)
            yield
        finally:
            self.kubectl.run("scale", "deployment", DEPLOYMENT, "--replicas=1")
            self.wait()

    def restart(self) -> None:
        """Replace its pod gracefully and wait for the next pod."""
        name = self.pod()["metadata"]["name"]
        self.kubectl.run("delete", "pod", name, "--wait=true", "--timeout=60s", seconds=70)
        self.wait()

    def resident(self) -> dict[str, float]:
        """Return its resident memory in MiB, by its own metrics and by the kernel."""
        pod = self.pod()
        url = f"http://{pod['status']['podIP']}:8080/metrics"
        own = _metric(url, "process_resident_memory_bytes")
        kernel = sum(resident_of(pid) for pid in self.pids())
        return {"metrics": own / 2**20, "kernel": kernel}

    def cpu_seconds(self) -> float:
        """Return the CPU time that it has used."""
        return _metric(f"http://{self.pod()['status']['podIP']}:8080/metrics", "process_cpu_seconds_total")


def _metric(url: str, name: str) -> float:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + " "))


def _pids() -> list[int]:
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdecimal()]


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def resident_of(pid: int) -> float:
    """Return a process's resident memory in MiB."""
    lines = _read(f"/proc/{pid}/status").splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0.0)


def cpu_of(pid: int) -> float:
    """Return the CPU time of a process in seconds."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def wait_for_end(process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    """Terminate a process; kill it when it does not end."""
    process.terminate()
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    if process.poll() is None:
        process.kill()
    process.wait(10)
