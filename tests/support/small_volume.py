"""A volume of the type `local` on a small file system of its own, whose kubelet tells how full it is."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local.paths import RUN
from tests.support.kubectl import Kubectl, Manifest

MIB = 256


@dataclass(frozen=True)
class SmallVolume:
    """`name` is that of the volume and of its storage class, which has no other."""

    name: str
    folder: Path

    def fill(self, free: float) -> None:
        """Leave this share of it free; 1 for all that its owner does not use."""
        ballast = self.folder / "ballast"
        ballast.unlink(missing_ok=True)
        usage = shutil.disk_usage(self.folder)
        ballast.write_bytes(bytes(max(0, usage.free - int(free * usage.total))))


@contextmanager
def small_volume(kubectl: Kubectl) -> Iterator[SmallVolume]:
    """Mount it and make it known; afterwards it is gone, whoever still uses it."""
    # `make down` removes mounts that are there.
    folder = Path(tempfile.mkdtemp(prefix="small-", dir=RUN))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MIB}m", "tmpfs", str(folder)], check=True)
    name = kubectl.namespace
    try:
        kubectl.apply(_manifest(name, folder, kubectl.names("nodes")[0]))
        yield SmallVolume(name, folder)
    finally:
        kubectl.delete("persistentvolume", name)
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def _manifest(name: str, folder: Path, node: str) -> Manifest:
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": name,
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }
