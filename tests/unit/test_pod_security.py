"""The checker of the restricted standard finds what the standard forbids."""

import copy
from typing import Any

import pytest

from pgoperator.kube.manifest import Manifest
from tests.support.pod_security import violations

GOOD: Manifest = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "volumes": [{"name": "v", "emptyDir": {}}],
    "containers": [
        {
            "name": "c",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
}


def test_a_good_pod_has_no_violations() -> None:
    assert violations(GOOD) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("hostNetwork", True),
        ("hostPID", True),
        ("hostIPC", True),
        ("volumes", [{"name": "h", "hostPath": {"path": "/"}}]),
        ("securityContext", {"seccompProfile": {"type": "RuntimeDefault"}}),
        ("securityContext", {"runAsNonRoot": True}),
        ("securityContext", {"runAsNonRoot": True, "seccompProfile": {"type": "Unconfined"}}),
        ("securityContext.runAsUser", 0),
        ("securityContext.sysctls", [{"name": "kernel.msgmax", "value": "1"}]),
        ("securityContext.seLinuxOptions", {"type": "spc_t"}),
        ("securityContext.appArmorProfile", {"type": "Unconfined"}),
        ("containers.0.securityContext.runAsNonRoot", False),
        ("containers.0.securityContext.privileged", True),
        ("containers.0.securityContext.allowPrivilegeEscalation", True),
        ("containers.0.securityContext.capabilities", {}),
        ("containers.0.securityContext.capabilities.add", ["SYS_ADMIN"]),
        ("containers.0.securityContext.procMount", "Unmasked"),
        ("containers.0.ports", [{"containerPort": 1, "hostPort": 1}]),
        ("initContainers", [{"name": "i"}]),
    ],
)
def test_what_the_standard_forbids_is_found(path: str, value: Any) -> None:
    spec = copy.deepcopy(GOOD)
    *way, last = path.split(".")
    place: Any = spec
    for step in way:
        place = place[int(step)] if step.isdigit() else place[step]
    place[last] = value
    assert violations(spec)
