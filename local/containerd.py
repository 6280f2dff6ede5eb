"""One containerd per node. Its image store survives `down`, so a warm start imports no images."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from local.console import LocalError, info
from local.images import PAUSE, Image, recorded_digest
from local.network import namespace, node_name, pod_subnet
from local.paths import NODES, RUN
from local.processes import Processes
from local.shell import output, succeeds, wait_for

_HASH_LABEL = "pgoperator.local/hash"
_CNI_PLUGINS = Path("/usr/lib/cni")

_CONFIG = """\
version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true  # a container cannot lower the score and does not need to
  netns_mounts_under_state_dir = true  # keeps all mounts of a cluster below one folder
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""


def cni_config(index: int, folder: Path) -> str:
    """Render the pod network of a node: a bridge in its namespace, its own subnet, no masquerading."""
    addresses = {
        "type": "host-local",
        "dataDir": str(folder / "addresses"),
        "ranges": [[{"subnet": pod_subnet(index)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": addresses,
    }
    port_map = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, port_map]})


@dataclass(frozen=True)
class Containerd:
    """The containerd of one node."""

    index: int
    processes: Processes

    @property
    def folder(self) -> Path:
        """Return the folder of the node's state; it is removed with the cluster."""
        return RUN / node_name(self.index)

    @property
    def root(self) -> Path:
        """Return the folder of images and layers; it is kept."""
        return NODES / node_name(self.index)

    @property
    def socket(self) -> Path:
        """Return the socket of the container runtime."""
        return self.folder / "containerd.sock"

    @property
    def name(self) -> str:
        """Return the name of the process."""
        return f"{node_name(self.index)}-containerd"

    def start(self) -> None:
        """Start with the existing image store, or with an empty one if that fails."""
        self._configure()
        try:
            self._run()
            if self._containers():
                # Containers from before a crash of the machine: delete them and restart, because containerd
                # has loaded them.
                self._forget_containers()
                self._stop()
                self._run()
        except LocalError as error:
            info(f"{node_name(self.index)}: restarting containerd with an empty image store ({error})")
            self._stop()
            shutil.rmtree(self.root)
            self._run()

    def import_images(self, images: Iterable[Image]) -> list[str]:
        """Import missing and changed images; return their names."""
        present = self.ctr("images", "list")
        changed = []
        for image in images:
            label = f"{_HASH_LABEL}={recorded_digest(image)}"
            lines = [line for line in present.splitlines() if line.startswith(f"{image.name} ")]
            if not any(label in line for line in lines):
                self.ctr("images", "import", "--snapshotter", "overlayfs", image.archive)
                self.ctr("images", "label", image.name, label)
                changed.append(image.name)
        return changed

    def ctr(self, *arguments: str | Path) -> str:
        """Run `ctr` in the containerd namespace of Kubernetes and return its output."""
        return output(["ctr", "--address", self.socket, "--namespace", "k8s.io", *arguments])

    def _configure(self) -> None:
        cni = self.folder / "cni"
        cni.mkdir(parents=True, exist_ok=True)
        (cni / "10-pods.conflist").write_text(cni_config(self.index, self.folder))
        (self.folder / "containerd.toml").write_text(
            _CONFIG.format(
                root=self.root,
                state=self.folder / "containerd",
                socket=self.socket,
                pause=PAUSE,
                plugins=_CNI_PLUGINS,
                cni=cni,
            )
        )

    def _run(self) -> None:
        command = ["containerd", "--config", self.folder / "containerd.toml"]
        self.processes.start(self.name, command, netns=namespace(node_name(self.index)))

        def answers() -> bool:
            self.processes.check([self.name])
            return succeeds(["ctr", "--address", self.socket, "version"])

        wait_for(f"{self.name} answers", answers, 30, 0.1)

    def _stop(self) -> None:
        self.processes.kill([self.name])

    def _containers(self) -> list[str]:
        return self.ctr("containers", "list", "--quiet").split()

    def _forget_containers(self) -> None:
        if names := self._containers():
            self.ctr("containers", "delete", *names)
