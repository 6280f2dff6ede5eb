"""What no pod may ask for unless the operator's administrator allows it: the way out to the node. Pure.

Who may write a PerconaPGCluster need not be allowed to create pods, and the namespace may enforce no Pod
Security Standard. So the operator itself refuses what the standard *baseline* forbids, in whatever the spec
adds to a pod: containers, volumes, security contexts.
https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline
"""

import re
from collections.abc import Iterator
from typing import Any

from pgoperator.errors import InvalidSpec
from pgoperator.kube.manifest import Manifest
from pgoperator.settings import PRIVILEGED_PODS, Settings

REASON = "PrivilegeRefused"

_CAPABILITIES = re.compile(
    "(CAP_)?(AUDIT_WRITE|CHOWN|DAC_OVERRIDE|FOWNER|FSETID|KILL|MKNOD|NET_BIND_SERVICE|SETFCAP|SETGID|SETPCAP"
    "|SETUID|SYS_CHROOT)"
)
_SYSCTLS = re.compile(
    r"kernel\.shm_rmid_forced|net\.ipv4\.(ip_local_port_range|ip_local_reserved_ports|ip_unprivileged_port_start"
    "|ping_group_range|tcp_(fin_timeout|keepalive_(intvl|probes|time)|rmem|syncookies|wmem))"
)
_SELINUX = frozenset(("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"))
_CONFINED = ("RuntimeDefault", "Localhost")


def check(pod: Manifest, settings: Settings) -> None:
    """Raise InvalidSpec for a pod that asks for more, unless the gate `PrivilegedPods` is on."""
    if settings.features[PRIVILEGED_PODS]:
        return
    if (found := next(_privileges(pod), None)) is not None:
        raise InvalidSpec(
            f"{found} is not allowed; an administrator can allow it with the operator's feature gate "
            f"{PRIVILEGED_PODS}",
            reason=REASON,
        )


def _privileges(pod: Manifest) -> Iterator[str]:
    yield from (name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name))
    for volume in pod.get("volumes") or ():
        if "hostPath" in volume:
            yield f"volume {volume['name']!r}: hostPath"
    context = pod.get("securityContext") or {}
    for sysctl in context.get("sysctls") or ():
        if not _SYSCTLS.fullmatch(str(sysctl.get("name"))):
            yield f"securityContext: sysctl {sysctl.get('name')!r}"
    yield from _of_context("securityContext", context)
    for container in (*(pod.get("initContainers") or ()), *(pod.get("containers") or ())):
        yield from _of_container(container)


def _of_container(container: Manifest) -> Iterator[str]:
    where, context = f"container {container['name']!r}", container.get("securityContext") or {}
    if context.get("privileged"):
        yield f"{where}: privileged"
    for name in (context.get("capabilities") or {}).get("add") or ():
        if not _CAPABILITIES.fullmatch(str(name)):
            yield f"{where}: capability {name!r}"
    if context.get("procMount") not in (None, "", "Default"):
        yield f"{where}: procMount {context['procMount']!r}"
    if any(port.get("hostPort") for port in container.get("ports") or ()):
        yield f"{where}: hostPort"
    handlers = [container.get(f"{probe}Probe") for probe in ("liveness", "readiness", "startup")]
    handlers += (container.get("lifecycle") or {}).values()
    for handler in filter(None, handlers):
        for action in ("httpGet", "tcpSocket"):
            if (handler.get(action) or {}).get("host"):
                yield f"{where}: {action} with a host"
    yield from _of_context(where, context)


def _of_context(where: str, context: Any) -> Iterator[str]:
    """The rules for the security context of pods and of containers."""
    selinux = context.get("seLinuxOptions") or {}
    if selinux.get("type", "") not in _SELINUX or selinux.get("user") or selinux.get("role"):
        yield f"{where}: seLinuxOptions"
    for profile in ("seccompProfile", "appArmorProfile"):
        if (context.get(profile) or {}).get("type", "RuntimeDefault") not in _CONFINED:
            yield f"{where}: {profile} {context[profile]['type']!r}"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield f"{where}: hostProcess"
