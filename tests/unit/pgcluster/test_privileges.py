"""The way out to the node: refused in whatever a custom resource adds to a pod."""

from dataclasses import replace
from typing import Any

import pytest

from pgoperator.settings import FEATURES
from reconcilers.pgcluster import pipeline
from reconcilers.pgcluster.state.findings import Problem
from tests.support.views import view
from tests.unit.pgcluster.specs import CAREFUL, backups, helper, instances, pooler

HOST = {"name": "root", "hostPath": {"path": "/"}}
CONTAINERS: dict[str, Any] = {
    "privileged": {"securityContext": {"privileged": True}},
    "capability 'SYS_ADMIN'": {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}},
    "capability 'CAP_NET_RAW'": {"securityContext": {"capabilities": {"add": ["CAP_NET_RAW"]}}},
    "capability 'ALL'": {"securityContext": {"capabilities": {"add": ["ALL"], "drop": ["ALL"]}}},
    "procMount 'Unmasked'": {"securityContext": {"procMount": "Unmasked"}},
    "seccompProfile 'Unconfined'": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
    "appArmorProfile 'Unconfined'": {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
    "seLinuxOptions": {"securityContext": {"seLinuxOptions": {"type": "spc_t"}}},
    "hostProcess": {"securityContext": {"windowsOptions": {"hostProcess": True}}},
    "hostPort": {"ports": [{"containerPort": 1, "hostPort": 22}]},
    "httpGet with a host": {"livenessProbe": {"httpGet": {"host": "169.254.169.254", "port": 80}}},
    "tcpSocket with a host": {"lifecycle": {"postStart": {"tcpSocket": {"host": "x", "port": 1}}}},
}
CONTEXTS: dict[str, Any] = {
    "sysctl 'kernel.core_pattern'": {"sysctls": [{"name": "kernel.core_pattern", "value": "|/x"}]},
    "seccompProfile 'Unconfined'": {"seccompProfile": {"type": "Unconfined"}},
    "hostProcess": {"windowsOptions": {"hostProcess": True}},
}
PMM = {"enabled": True, "image": "pmm:3", "serverHost": "pmm", "secret": "token"}


def specs() -> dict[str, tuple[str, Any]]:
    """Everything by which a custom resource adds to its pods: a privilege in words, and the spec."""
    found: dict[str, tuple[str, Any]] = {}
    for why, fields in CONTAINERS.items():
        theirs = [helper("theirs", **fields)]
        found |= {
            f"sidecar: {why}": (why, {"instances": instances(sidecars=theirs)}),
            f"init: {why}": (why, {"instances": instances(initContainers=theirs)}),
            f"pooler: {why}": (why, {"proxy": pooler(sidecars=theirs)}),
            f"repository: {why}": (why, {"backups": backups(repoHost={"sidecars": theirs})}),
        }
        if "securityContext" in fields:
            pmm = {**PMM, "containerSecurityContext": fields["securityContext"]}
            found[f"pmm: {why}"] = (why, {"pmm": pmm})
    for why, context in CONTEXTS.items():
        own = {"securityContext": context}
        found |= {
            f"instances: {why}": (why, {"instances": instances(**own)}),
            f"pooler: {why}": (why, {"proxy": pooler(**own)}),
            f"repository: {why}": (why, {"backups": backups(repoHost=own)}),
        }
    source = {"name": "root", "volumeSource": {"hostPath": {"path": "/"}}, "mounts": [{"mountPath": "/x"}]}
    return found | {
        "instances: volume": ("hostPath", {"instances": instances(sidecarVolumes=[HOST])}),
        "instances: extra": ("hostPath", {"instances": instances(extraVolumes=[source])}),
        "pooler: volume": ("hostPath", {"proxy": pooler(sidecarVolumes=[HOST])}),
        "repository: volume": ("hostPath", {"backups": backups(repoHost={"sidecarVolumes": [HOST]})}),
    }


@pytest.mark.parametrize("which", specs())
def test_no_pod_gets_a_way_out_to_its_node(which: str) -> None:
    why, spec = specs()[which]
    one = view(**spec)
    built = pipeline.build(one)
    [problem] = built.problems
    assert problem.reason == "PrivilegeRefused"
    assert why in problem.message
    # The other objects are built, and nothing is pruned: pods that exist stay as they are.
    assert built.manifests
    assert not built.complete
    allowed = replace(one.settings, features=FEATURES | {"PrivilegedPods": True})
    assert pipeline.build(replace(one, settings=allowed)).complete


def test_what_the_baseline_allows_is_no_privilege() -> None:
    context = {"capabilities": {"add": ["NET_BIND_SERVICE", "CHOWN"]}, "runAsUser": 0, "procMount": "Default"}
    sysctl = {"sysctls": [{"name": "net.ipv4.tcp_keepalive_time", "value": "60"}]}
    fields = {"sidecars": [helper("a", securityContext=CAREFUL | context)], "securityContext": sysctl}
    assert pipeline.build(view(instances=instances(**fields))).complete


@pytest.mark.parametrize(
    ("gate", "field", "spec"),
    [
        ("InstanceSidecars", "spec.instances[0].sidecars", {"instances": instances(sidecars=[helper("a")])}),
        (
            "InstanceSidecars",
            "spec.instances[0].initContainers",
            {"instances": instances(initContainers=[helper("a")])},
        ),
        ("PGBouncerSidecars", "spec.proxy.pgBouncer.sidecars", {"proxy": pooler(sidecars=[helper("a")])}),
        (
            "PGBackrestSidecars",
            "spec.backups.pgbackrest.repoHost.sidecars",
            {"backups": backups(repoHost={"sidecars": [helper("a")]})},
        ),
    ],
)
def test_an_administrator_can_forbid_containers_of_authors(gate: str, field: str, spec: Any) -> None:
    one = view(**spec)
    assert pipeline.build(one).complete
    off = replace(one.settings, features=FEATURES | {gate: False})
    text = f"{field} is not allowed: the operator's feature gate {gate} is off"
    assert pipeline.build(replace(one, settings=off)).problems == [Problem("FeatureDisabled", text)]
    assert pipeline.build(replace(view(), settings=off)).complete
