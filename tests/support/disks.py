"""A volume of a size of its own: a file system in memory, which a claim gets by the name of its class."""

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
    """It is on this machine, where the nodes are."""

    folder: Path
    class_name: str

    def claim(self) -> Manifest:
        """Return the spec of a claim that gets it; the size in it is only a word."""
        return {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": self.class_name,
            "resources": {"requests": {"storage": "64Mi"}},
        }

    def fill(self, leave: int = 0) -> None:
        """Use all of its space but for so many bytes."""
        self.free()
        room = shutil.disk_usage(self.folder).free - leave
        with (self.folder / FILLER).open("wb") as file:
            while room > 0:
                room -= file.write(b"\0" * min(room, 1 << 20))

    def free(self) -> None:
        """Give that space back."""
        (self.folder / FILLER).unlink(missing_ok=True)


@contextmanager
def disk(kubectl: Kubectl, mebibytes: int) -> Iterator[Disk]:
    """Have one, with a PersistentVolume for the first claim of its class."""
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
        # A container that still has it open keeps it until it ends.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()
