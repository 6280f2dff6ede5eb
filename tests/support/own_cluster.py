"""A second local Kubernetes for the tests, so that the developer's own is not disturbed.

`local` always runs in a separate process with the number of that cluster.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.support.kubectl import REPOSITORY, Kubectl, Manifest, is_ready, until

NUMBER = "9"
NODES = ("node1", "node2")
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "KUBECONFIG"} | {"PGOPERATOR_INSTANCE": NUMBER}
_BUILD = "from local import cluster; cluster.build(())"
_UP = f"from local import cluster; cluster.up({len(NODES)}, ())"
_PLACE = """
import json
from local import images, network, paths
place = [str(paths.RUN), str(paths.NODES), network.BRIDGE, network.namespace(""), images.BUSYBOX]
print(json.dumps([*place, network.POD_RANGE, network.SERVICE_RANGE]))
"""


def run(*command: str, seconds: float = 600) -> str:
    """Run a command for the tests' cluster and return its output."""
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Process:
    """A process of this machine; the start time distinguishes it from a later process with the same id."""

    pid: int
    began: str
    command: str


@dataclass
class OwnCluster:
    """The cluster number 9 of `local` and its traces on the machine."""

    folder: Path
    content: Path
    bridge: str
    prefix: str
    image: str
    pods: str
    services: str
    containers: set[str] = field(default_factory=set)
    """The ids of all containers seen so far."""

    @classmethod
    def find(cls) -> "OwnCluster":
        """Read the paths and names of the cluster."""
        run_folder, content, *rest = json.loads(run(sys.executable, "-c", _PLACE))
        return cls(Path(run_folder), Path(content), *rest)

    def build(self) -> None:
        """Build missing programs and images; the first time takes minutes."""
        run(sys.executable, "-c", _BUILD, seconds=3600)

    def up(self) -> None:
        """Start Kubernetes as `make up` does, with the images that every node needs."""
        run(sys.executable, "-c", _UP)

    def begin_up(self) -> subprocess.Popen[bytes]:
        """Start the cluster without waiting."""
        quiet = subprocess.DEVNULL
        command = [sys.executable, "-c", _UP]
        return subprocess.Popen(command, cwd=REPOSITORY, env=ENVIRONMENT, stdout=quiet, stderr=quiet)

    def down(self) -> None:
        """Remove the cluster as `make down` does."""
        run(sys.executable, "-m", "local", "down")

    @property
    def kubectl(self) -> Kubectl:
        """Return kubectl of the administrator."""
        return Kubectl(str(self.folder / "admin.kubeconfig"))

    def _is_accepted(self, pod: Manifest) -> bool:
        self.kubectl.apply(pod)
        return True

    def _runs(self, pod: str) -> bool:
        return is_ready(self.kubectl.get("pod", pod))

    def use(self) -> None:
        """Run a pod on each node, which leaves containers, mounts and addresses behind."""
        for node in NODES:
            container = {"name": "sleeper", "image": self.image, "imagePullPolicy": "Never"}
            spec = {"nodeName": node, "containers": [container | {"command": ["sleep", "infinity"]}]}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": node}, "spec": spec}
            # A controller creates the namespace's ServiceAccount, and may have just started.
            until(f"a pod for {node} is accepted", partial(self._is_accepted, pod), 60)
        for node in NODES:
            until(f"the pod on {node} runs", partial(self._runs, node), 60)
        tasks = self.folder.glob("*/containerd/io.containerd.runtime.v2.task/k8s.io/*")
        self.containers |= {folder.name for folder in tasks}

    def records(self) -> dict[str, str]:
        """Return the recorded processes."""
        return {file.stem: file.read_text() for file in (self.folder / "processes").glob("*.pid")}

    def recorded(self) -> list[Process]:
        """Return the recorded processes that are running."""
        pids = {int(text.split()[0]) for text in self.records().values()}
        return [process for process in self.processes() if process.pid in pids]

    def processes(self) -> list[Process]:
        """Return the processes in its folders and those of its containers."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_text(errors="replace").replace("\0", " ").strip()
                group = (entry / "cgroup").read_text()
                state, *stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            ours = f"{self.folder}/" in command or f"{self.content}/" in command
            if state != "Z" and (ours or any(one in group for one in self.containers)):
                found.append(Process(int(entry.name), stat[18], command))
        return found

    def left(self) -> list[str]:
        """Return all traces of the cluster on the machine."""
        return [
            *(f"process {p.pid} {p.command}" for p in self.processes()),
            *self._mounts(),
            *map(str, Path("/run/netns").glob(f"{self.prefix}*")),
            *self._network(),
            *self._cgroups(),
            *([str(self.folder)] if self.folder.exists() else []),
        ]

    def _mounts(self) -> Iterator[str]:
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            if f"{self.folder}/" in line or f"{self.content}/" in line:
                yield f"mount {line}"

    def _network(self) -> Iterator[str]:
        addresses = [one.rpartition(".0.0/")[0] for one in (self.pods, self.services)]
        for command in (("ip", "-o", "link"), ("ip", "route"), ("iptables", "-S", "FORWARD")):
            for line in run(*command).splitlines():
                if any(one in line for one in (self.bridge, self.prefix, *(f"{a}." for a in addresses))):
                    yield f"{command[0]}: {line}"

    def _cgroups(self) -> Iterator[str]:
        for root in Path("/sys/fs/cgroup").rglob("k8s.io"):
            yield from (str(path) for path in root.iterdir() if path.name in self.containers)


def gone(processes: list[Process], seconds: float = 60) -> None:
    """Wait until the processes have ended."""

    def ended(process: Process) -> bool:
        try:
            stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return True
        return stat[0] == "Z" or stat[19] != process.began

    deadline = time.monotonic() + seconds
    while left := [process for process in processes if not ended(process)]:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.05)
