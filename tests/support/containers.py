"""Runs commands in containers of the local Kubernetes without the API server.

`kubectl exec` takes a fifth of a second of CPU: in kubectl, the API server, the kubelet, and the container
runtime. All nodes are on this machine, so a command can enter the container's namespaces directly.
"""

from pathlib import Path

from local.paths import RUN
from pgoperator.kube.manifest import Manifest


class NotHere(Exception):  # noqa: N818 - the name states the fact
    """The container does not run on this machine."""


def enter(pod: Manifest, container: str = "") -> list[str]:
    """The beginning of a command line that runs the rest in a container, as its user and with its variables.

    Without a name it is the first container. NotHere if it does not run, or not on this machine.
    """
    name = container or pod["spec"]["containers"][0]["name"]
    statuses = pod.get("status", {}).get("containerStatuses", [])
    ids = [s["containerID"] for s in statuses if s["name"] == name and "running" in s["state"]]
    if not ids:
        raise NotHere
    task = RUN / pod["spec"]["nodeName"] / "containerd" / "io.containerd.runtime.v2.task" / "k8s.io"
    try:
        pid = (task / ids[0].removeprefix("containerd://") / "init.pid").read_text()
        here = Path("/proc") / pid
        status = dict(line.split(":", 1) for line in (here / "status").read_text().splitlines())
        variables = [v for v in (here / "environ").read_bytes().decode().split("\0") if "=" in v]
    except OSError as error:
        raise NotHere from error
    spaces = ("--mount", "--ipc", "--uts", "--net", "--pid", "--wd")
    account = (f"--setuid={status['Uid'].split()[0]}", f"--setgid={status['Gid'].split()[0]}")
    return ["nsenter", f"--target={pid}", *spaces, *account, "--", "env", "-i", *variables]
