"""A containerd for each node. Its content survives `down`, so that a warm start imports no image."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from local.console import LocalError, say
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
  restrict_oom_score_adj = true  # root of a container may not lower the score, and needs not
  netns_mounts_under_state_dir = true  # so that all mounts of a cluster lie below one folder
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""


def cni_config(index: int, folder: Path) -> str:
    """Render the pod network of a node: a bridge in its namespace, addresses of its own, no masquerade."""
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
        """Return the folder of the node, gone with the cluster."""
        return RUN / node_name(self.index)

    @property
    def root(self) -> Path:
        """Return the folder of images and layers, kept."""
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
        """Start with the content of last time, or from nothing when that is of no use."""
        self._configure()
        try:
            self._run()
            if self._containers():
                # Left by a machine that went down: the runtime has read them already, so start it again.
                self._forget_containers()
                self._stop()
                self._run()
        except LocalError as error:
            say(f"{node_name(self.index)}: starting containerd from nothing ({error})")
            self._stop()
            shutil.rmtree(self.root)
            self._run()

    def import_images(self, images: Iterable[Image]) -> list[str]:
        """Import the images that differ from what is there; return their names."""
        present = self.ctr("images", "list")
        changed = []
        for image in images:
            wanted = f"{_HASH_LABEL}={recorded_digest(image)}"
            lines = [line for line in present.splitlines() if line.startswith(f"{image.name} ")]
            if not any(wanted in line for line in lines):
                self.ctr("images", "import", "--snapshotter", "overlayfs", image.archive)
                self.ctr("images", "label", image.name, wanted)
                changed.append(image.name)
        return changed

    def ctr(self, *arguments: str | Path) -> str:
        """Run containerd's client in the namespace of Kubernetes."""
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
