"""Processes that outlive the command that starts them; records in a folder identify them.

A record contains the pid and the start time of the process, so that another process with a reused pid is
never mistaken for a recorded one.
"""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from local.console import LocalError
from local.shell import Command, wait_for

_GONE_TIMEOUT = 15.0
# Kubernetes is written in Go: with more memory, collecting garbage takes less CPU.
_VARIABLES = {"GOGC": "400"}
_START_TIME_FIELD = 19  # of /proc/PID/stat, counted after the closing parenthesis of the command


@dataclass(frozen=True)
class Processes:
    """The recorded processes of one folder; their logs are in the same folder."""

    folder: Path

    def start(self, name: str, command: Command, *, netns: str = "") -> None:
        """Start a program in a new session and, if `netns` is set, in that network namespace.

        It uses `nsenter`, because `ip netns exec` mounts another /sys, in which a kubelet finds no cgroups.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        entered = ["nsenter", f"--net=/run/netns/{netns}"] if netns else []
        arguments = [*entered, *map(str, command)]
        log = os.open(self.log(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            # Not subprocess.Popen: it warns about a child that is still running when the object is deleted.
            pid = os.posix_spawnp(
                arguments[0],
                arguments,
                _VARIABLES | os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, log, 1),
                    (os.POSIX_SPAWN_DUP2, log, 2),
                ],
                setsid=True,
            )
        finally:
            os.close(log)
        (self.folder / f"{name}.pid").write_text(f"{pid} {_start_time(pid)}\n")

    def log(self, name: str) -> Path:
        """Return the log file of a process."""
        return self.folder / f"{name}.log"

    def alive(self, name: str) -> bool:
        """Return whether the recorded process is running."""
        return self._pid(name) is not None

    def names(self) -> list[str]:
        """Return the names of all records."""
        return sorted(file.stem for file in self.folder.glob("*.pid"))

    def kill(self, names: Iterable[str]) -> None:
        """Kill processes and wait until they have exited."""
        pids = [pid for name in names if (pid := self._pid(name))]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        for pid in pids:
            wait_for(f"process {pid} has exited", lambda pid=pid: not _running(pid), _GONE_TIMEOUT, 0.02)  # type: ignore[misc]
        for name in names:
            (self.folder / f"{name}.pid").unlink(missing_ok=True)

    def check(self, names: Iterable[str]) -> None:
        """Raise LocalError with the last lines of the log if one of the processes has exited."""
        for name in names:
            if not self.alive(name):
                lines = self.log(name).read_text(errors="replace").splitlines()[-15:]
                raise LocalError(
                    "\n".join([f"{name} has exited; the last lines of {self.log(name)}:", *lines])
                )

    def _pid(self, name: str) -> int | None:
        try:
            pid, _, started = (self.folder / f"{name}.pid").read_text().strip().partition(" ")
        except FileNotFoundError:
            return None
        same = pid.isdigit() and _running(int(pid)) and _start_time(int(pid)) == started
        return int(pid) if same else None


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _start_time(pid: int) -> str:
    stat = _stat(pid)
    return stat[_START_TIME_FIELD] if stat else ""


def _running(pid: int) -> bool:
    """Return whether a process is running; a zombie is not."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # reaps it if it is a child of this process
    stat = _stat(pid)
    return bool(stat) and stat[0] != "Z"


def kill_all(pids: Iterable[int], *, patience: float = 5.0) -> list[int]:
    """Kill processes that are not children; return those that still run after `patience` seconds."""
    left = set(pids)
    deadline = time.monotonic() + patience
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    while (left := {pid for pid in left if _running(pid)}) and time.monotonic() < deadline:
        time.sleep(0.05)
    return sorted(left)
