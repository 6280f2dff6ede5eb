"""The conditions of instances: volumes that change, and the PMM client. Pure."""

from collections.abc import Iterable

from pgoperator.kube.manifest import Manifest, name_of
from reconcilers.pgcluster.instances import build_pmm_sidecar
from reconcilers.pgcluster.state.findings import Finding
from reconcilers.pgcluster.state.view import View

# Conditions of a claim whose volume is changing.
_IN_PROGRESS = {
    "Resizing": "the volume is being expanded",
    "FileSystemResizePending": "the file system must still grow; some drivers need a restart of the pod",
    "ModifyingVolume": "the volume is being modified",
}


def volumes(claims: Iterable[Manifest]) -> list[Finding]:
    """The condition `PersistentVolumeResizing`; none while no volume changes."""
    changes = [
        (condition["type"], f"volume claim {name_of(claim)}: {_IN_PROGRESS[condition['type']]}")
        for claim in claims
        for condition in claim.get("status", {}).get("conditions") or []
        if condition["status"] == "True" and condition["type"] in _IN_PROGRESS
    ]
    if not changes:
        return []
    message = "; ".join(sentence for _, sentence in changes)
    return [Finding("PersistentVolumeResizing", True, changes[0][0], message)]


def pmm(view: View) -> list[Finding]:
    """The condition `PMMReady`; none while PMM is disabled."""
    settings = view.cluster.spec.pmm
    if settings is None or not settings.enabled:
        return []
    if flaw := build_pmm_sidecar.flaw(view):
        return [Finding("PMMReady", False, *flaw)]
    return [Finding("PMMReady", True, "PMMConfigured", f"the PMM client sends to {settings.server_host}")]
