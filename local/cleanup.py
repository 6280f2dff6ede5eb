"""Removes a cluster or the remains of one; used by `make down` and after a crash."""

import hashlib
import itertools
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from local import network
from local.console import LocalError
from local.paths import BIN, CACHE, NODES, RUN
from local.processes import Processes, kill_all
from local.shell import output

_ROUNDS = 20
_CRI_NAMESPACE = "k8s.io"  # of containerd, and the name of the cgroup that it makes for its containers
_SHIM_SOCKETS = Path("/run/containerd/s")


def remove_cluster() -> None:
    """Kill all processes of the cluster; remove mounts, cgroups, namespaces, links, routes and rules."""
    owner = network.owner()
    if owner not in {"", str(CACHE)} and Path(owner, RUN.name).is_dir():
        raise LocalError(
            f"a local Kubernetes of another cache folder is running: "
            f"remove it first with PGOPERATOR_CACHE={owner} make down"
        )
    processes = Processes(RUN / "processes")
    processes.kill(processes.names())
    kill_all(_unrecorded())
    shims = list(_shims())
    containers = _containers() | {shim.container for shim in shims}
    kill_all(shim.pid for shim in shims)
    _end_containers(containers)
    _unmount()
    network.remove()
    _remove_cgroups(containers)
    for shim in shims:
        shim.socket.unlink(missing_ok=True)
    shutil.rmtree(RUN, ignore_errors=True)


@dataclass(frozen=True)
class _Shim:
    """The process that containerd starts for a pod; it survives containerd by design."""

    pid: int
    address: str  # of the containerd that it reports to
    container: str

    @property
    def socket(self) -> Path:
        """Return the shim's socket; containerd derives its name from the container."""
        key = f"{self.address}/{_CRI_NAMESPACE}/{self.container}"
        return _SHIM_SOCKETS / hashlib.sha256(key.encode()).hexdigest()


def _commands() -> Iterator[tuple[int, str, list[str]]]:
    """Yield pid, program and arguments of the processes with a path in RUN as an argument."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            program, *arguments = file.read_text(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(f"{RUN}/" in argument for argument in arguments):
            yield int(file.parent.name), program, arguments


def _unrecorded() -> Iterator[int]:
    """Yield the pids of processes without a record, for example after the folder was deleted."""
    for pid, program, _ in _commands():
        built = Path(program).parent == BIN and Path(program).name != "kubectl"
        if built or program == "containerd":
            yield pid


def _shims() -> Iterator[_Shim]:
    """Yield the shims of the cluster's containerds."""
    for pid, program, arguments in _commands():
        options = dict(itertools.pairwise(arguments))
        address = options.get("-address", "")
        if "containerd-shim" in program and address.startswith(f"{RUN}/"):
            yield _Shim(pid, address, options.get("-id", ""))


def _containers() -> set[str]:
    """Return the ids of the cluster's containers, from the state folders of containerd."""
    tasks = RUN.glob(f"*/containerd/io.containerd.runtime.v2.task/{_CRI_NAMESPACE}/*")
    return {folder.name for folder in tasks}


def _cgroups(containers: set[str]) -> list[Path]:
    """Return the cgroups of the containers in every cgroup hierarchy."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    roots = [Path(mount[1]) / _CRI_NAMESPACE for mount in mounts if mount[2] in {"cgroup", "cgroup2"}]
    return [root / name for root in roots for name in containers if name and (root / name).is_dir()]


def _end_containers(containers: set[str]) -> None:
    """Kill all processes in the cgroups; repeat, because a process can start another in the meantime."""
    pids: set[int] = set()
    for _ in range(_ROUNDS):
        files = [file for cgroup in _cgroups(containers) for file in cgroup.rglob("cgroup.procs")]
        pids = {int(pid) for file in files for pid in file.read_text().split()}
        if not kill_all(pids, patience=1):
            return
    raise LocalError(f"could not kill these processes of pods: {sorted(pids)}")


def _mounts() -> list[str]:
    """Return the mounts below RUN and NODES, the innermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    # The kernel escapes characters such as a space as three octal digits.
    points = [re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), line.split()[4]) for line in lines]
    return [point for point in reversed(points) if point.startswith((f"{RUN}/", f"{NODES}/"))]


def _unmount() -> None:
    for _ in range(_ROUNDS):
        mounts = _mounts()
        if not mounts:
            return
        output(["umount", "--lazy", *mounts])
    raise LocalError(f"could not remove these mounts: {mounts}")


def _remove_cgroups(containers: set[str]) -> None:
    for cgroup in _cgroups(containers):
        for folder in sorted((path for path in cgroup.rglob("*") if path.is_dir()), reverse=True):
            _remove_cgroup(folder)
        _remove_cgroup(cgroup)
        with suppress(OSError):  # not empty while other cgroups remain
            cgroup.parent.rmdir()


def _remove_cgroup(folder: Path) -> None:
    for _ in range(_ROUNDS):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:  # busy for a moment after its last process has exited
            time.sleep(0.05)
        else:
            return
