"""Requirements of the machine: root and a few Debian packages."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from local.console import LocalError, step
from local.shell import lock, logged

# Package -> a file that it installs; a check of the file is faster than a query of dpkg.
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
# Programs for the unit tests of scripts and configurations, in the versions of Debian 12.
TEST_PACKAGES = {
    "libnss-wrapper": "/usr/lib/x86_64-linux-gnu/libnss_wrapper.so",
    "pgbackrest": "/usr/bin/pgbackrest",
    "pgbouncer": "/usr/sbin/pgbouncer",
    "postgresql-15": "/usr/lib/postgresql/15/bin/postgres",
    "postgresql-15-pgaudit": "/usr/lib/postgresql/15/lib/pgaudit.so",
    "prometheus": "/usr/bin/promtool",
}


def missing(packages: Mapping[str, str]) -> list[str]:
    """Return the packages whose file is neither at its path in Debian nor, as a program, on PATH."""
    return [
        name
        for name, file in packages.items()
        if not Path(file).exists() and not shutil.which(Path(file).name)
    ]


def install_packages(packages: Mapping[str, str]) -> None:
    """Install missing packages with apt; LocalError names them if there is no apt or no root."""
    absent = missing(packages)
    if not absent:
        return
    names = " ".join(absent)
    if not shutil.which("apt-get") or os.geteuid():
        raise LocalError(f"required programs are missing; install these packages (Debian names): {names}")
    with lock("apt"), step(f"install {names}"):
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        logged(["apt-get", "update"], "apt", env=quiet)
        logged(["apt-get", "install", "--yes", "--no-install-recommends", *absent], "apt", env=quiet)


def require_root() -> None:
    """Raise LocalError without root, which is needed for network namespaces, mounts and cgroups."""
    if os.geteuid():
        raise LocalError(
            "run this as root: the local Kubernetes creates network namespaces, mounts and cgroups"
        )
