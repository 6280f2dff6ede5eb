"""The operator as a process of this machine with the rights of its ServiceAccount, for development."""

import os
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from local.api_server import free_ports
from local.versions import POSTGRES_MAJOR
from tests.support.kubectl import REPOSITORY, Kubectl, Manifest
from tests.support.operators import (
    ACCOUNT,
    Operator,
    cpu_of,
    objects,
    product_images,
    resident_of,
    wait_for_end,
)


@dataclass(frozen=True)
class HostOperator(Operator):
    """An operator that runs from the sources; a restart starts another process."""

    folder: Path
    processes: list[subprocess.Popen[bytes]]
    ports: list[int]

    @classmethod
    def install(cls, kubectl: Kubectl) -> "HostOperator":
        """Create its ServiceAccount in the namespace and start the process."""
        kubectl.apply(*(o for o in objects(kubectl) if o["kind"] != "Deployment"))
        operator = cls(kubectl, Path(tempfile.mkdtemp(prefix="operator-")), [], free_ports(2))
        token = kubectl.run("create", "token", ACCOUNT, "--duration=4h").strip()
        config = yaml.safe_load(Path(kubectl.config).read_text(encoding="utf-8"))
        config["users"][0]["user"] = {"token": token}
        (operator.folder / "kubeconfig").write_text(yaml.safe_dump(config), encoding="utf-8")
        operator._start()
        operator.wait()
        return operator

    def _start(self) -> None:
        environment = os.environ | {
            "KUBECONFIG": str(self.folder / "kubeconfig"),
            "WATCH_NAMESPACE": self.kubectl.namespace,
            "OPERATOR_NAMESPACE": self.kubectl.namespace,
            "PGO_METRICS_PORT": str(self.ports[0]),
            "PGO_HEALTH_PORT": str(self.ports[1]),
            "MALLOC_ARENA_MAX": "1",
            **product_images(POSTGRES_MAJOR),
        }
        with (self.folder / "log").open("ab") as log:
            command = [sys.executable, "-m", "pgoperator", "run"]
            self.processes.append(
                subprocess.Popen(
                    command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=REPOSITORY
                )
            )

    def is_ready(self) -> bool:
        """Return whether its readiness endpoint answers 200."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[1]}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def pod(self) -> Manifest:
        """Return the process id in place of a pod's uid."""
        return {"metadata": {"uid": str(self.processes[-1].pid), "name": "host"}, "status": {}}

    @property
    def user(self) -> str:
        """Return its name in the audit log."""
        return f"system:serviceaccount:{self.kubectl.namespace}:{ACCOUNT}"

    def restart_count(self) -> int:
        """Return 1 if the process has exited by itself."""
        return int(self.processes[-1].poll() is not None)

    def log(self, lines: int = 60) -> str:
        """Return the end of its log."""
        text = (self.folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()
        return "--- operator ---\n" + "\n".join(text[-lines:])

    def pids(self) -> list[int]:
        """Return the id of its process."""
        return [self.processes[-1].pid]

    def kill(self) -> None:
        """Kill the process as a crash would and start another at once."""
        self.processes[-1].send_signal(signal.SIGKILL)
        self.processes[-1].wait(10)
        self._start()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Kill the process as a crash would and start another when the context ends."""
        self.processes[-1].send_signal(signal.SIGKILL)
        self.processes[-1].wait(10)
        try:
            yield
        finally:
            self._start()
            self.wait()

    def restart(self) -> None:
        """Stop the process gracefully and start another."""
        wait_for_end(self.processes[-1])
        self._start()
        self.wait()

    def resident(self) -> dict[str, float]:
        """Return its resident memory in MiB."""
        return dict.fromkeys(("metrics", "kernel"), resident_of(self.pids()[0]))

    def cpu_seconds(self) -> float:
        """Return the CPU time that it has used."""
        return cpu_of(self.pids()[0])

    def stop(self) -> None:
        """End every process."""
        for process in self.processes:
            if process.poll() is None:
                wait_for_end(process)
