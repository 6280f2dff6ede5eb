"""What the machine itself must have: root, and a few packages of Debian."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from local.console import LocalError, step
from local.shell import lock, logged

# Package -> a file that it installs, cheaper to look at than dpkg's database.
NODE_PACKAGES = {
    "conntrack": "/usr/sbin/conntrack",
    "containerd": "/usr/bin/containerd",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "iproute2": "/usr/sbin/ip",
    "iptables": "/usr/sbin/iptables",
    "kmod": "/usr/sbin/modprobe",
    "openssl": "/usr/bin/openssl",
    "runc": "/usr/sbin/runc",
    "socat": "/usr/bin/socat",
}
IMAGE_PACKAGES = {
    "buildah": "/usr/bin/buildah",
    "mmdebstrap": "/usr/bin/mmdebstrap",
}
CONTROL_PLANE_PACKAGES = {"openssl": "/usr/bin/openssl"}
# Real programs for the unit tests of what is written for them; the newest that Debian 12 has will do.
TEST_PACKAGES = {
    "libnss-wrapper": "/usr/lib/x86_64-linux-gnu/libnss_wrapper.so",
    "pgbackrest": "/usr/bin/pgbackrest",
    "pgbouncer": "/usr/sbin/pgbouncer",
    "postgresql-15": "/usr/lib/postgresql/15/bin/postgres",
    "postgresql-15-pgaudit": "/usr/lib/postgresql/15/lib/pgaudit.so",
    "prometheus": "/usr/bin/promtool",
}


def missing(packages: Mapping[str, str]) -> list[str]:
    """Return the packages whose program is neither at its place in Debian nor on PATH."""
    return [
        name
        for name, file in packages.items()
        if not Path(file).exists() and not shutil.which(Path(file).name)
    ]


def install_packages(packages: Mapping[str, str]) -> None:
    """Install what is missing with apt, or say what to install where there is no apt."""
    absent = missing(packages)
    if not absent:
        return
    names = " ".join(absent)
    if not shutil.which("apt-get") or os.geteuid():
        raise LocalError(
            f"these programs are missing, install them (as root, on Debian by these names): {names}"
        )
    with lock("apt"), step(f"installing {names}"):
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        logged(["apt-get", "update"], "apt", env=quiet)
        logged(["apt-get", "install", "--yes", "--no-install-recommends", *absent], "apt", env=quiet)


def require_root() -> None:
    """Nodes are network namespaces with mounts and cgroups: only root can make them."""
    if os.geteuid():
        raise LocalError("the local Kubernetes needs root: it makes network namespaces, mounts and cgroups")
