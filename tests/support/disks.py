"""A volume of a fixed size: a tmpfs that a claim selects by the name of its storage class."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.kubectl import Kubectl, Manifest

FILLER = "filler"


@dataclass(frozen=True)
class Disk:
    """The file system is on this machine, as are the nodes."""

    folder: Path
    class_name: str

    def claim(self) -> Manifest:
        """Return the spec of a claim for the volume; the size in the claim has no effect."""
        return {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": self.class_name,
            "resources": {"requests": {"storage": "64Mi"}},
        }

    def fill(self, leave: int = 0) -> None:
        """Fill the volume except for so many bytes."""
        self.free()
        room = shutil.disk_usage(self.folder).free - leave
        with (self.folder / FILLER).open("wb") as file:
            while room > 0:
                room -= file.write(b"\0" * min(room, 1 << 20))

    def free(self) -> None:
        """Release the space that `fill` used."""
        (self.folder / FILLER).unlink(missing_ok=True)


@contextmanager
def disk(kubectl: Kubectl, mebibytes: int) -> Iterator[Disk]:
    """Create the volume and a PersistentVolume for the first claim of its class."""
    folder = Path(tempfile.mkdtemp(prefix="disk-"))
    found = Disk(folder, f"disk-{kubectl.namespace}")
    options = f"size={mebibytes}m,mode=0777"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": found.class_name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "64Mi"},
            "hostPath": {"path": str(folder)},
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": found.class_name,
        },
    }
    kubectl.apply(volume)
    try:
        yield found
    finally:
        kubectl.delete("persistentvolume", found.class_name)
        # A container that uses the volume keeps it mounted until the container ends.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()
