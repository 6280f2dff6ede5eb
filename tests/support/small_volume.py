"""A `local` volume on a small file system, whose usage the kubelet reports."""

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
    """`name` is the name of the volume and of its storage class."""

    name: str
    folder: Path

    def fill(self, free: float) -> None:
        """Leave this share of the volume free; 1 removes the filler."""
        ballast = self.folder / "ballast"
        ballast.unlink(missing_ok=True)
        usage = shutil.disk_usage(self.folder)
        ballast.write_bytes(bytes(max(0, usage.free - int(free * usage.total))))


@contextmanager
def small_volume(kubectl: Kubectl) -> Iterator[SmallVolume]:
    """Mount the volume and create its objects; remove both afterwards, even when in use."""
    # `make down` removes these mounts.
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
