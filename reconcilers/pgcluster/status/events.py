"""Kubernetes events on the custom resource: an event for each condition that changes."""

from pgoperator.api.states import BROKEN_PAGES
from pgoperator.api.status import PGClusterStatus
from pgoperator.context import Context
from pgoperator.kube.manifest import Manifest

# Every change of these conditions is an event.
ON_CHANGE = (
    *("Ready", "Degraded", "FieldsIgnored", "FieldsOverridden", "ParametersOverridden", "PatroniPaused"),
    *("BackupOverdue", "BackupScheduleInvalid", "ArchivingFailing", "ArchiveGap", "RepositorySpaceLow"),
    *(BROKEN_PAGES, "ReplicationSlotsFailing"),
)
# These conditions are an event only when they become false.
WHEN_FALSE = ("ExtensionsReady", "PMMReady", "RestoreProven")


def emit(ctx: Context, manifest: Manifest, new: PGClusterStatus) -> None:
    """Emit an event for each condition that differs from the previous status.

    Ready and Degraded with one cause are one Warning. A state that ended and returns is emitted again. A pass
    that reads an outdated status, because a watch is late, emits nothing twice: the recorder remembers the
    state.
    """
    old = {
        c["type"]: (c["status"], c["reason"]) for c in (manifest.get("status") or {}).get("conditions", [])
    }
    for reason in {reason for _, reason in old.values()} - {condition.reason for condition in new.conditions}:
        ctx.events.forget(manifest, reason)
    degraded = {(c.reason, c.message) for c in new.conditions if c.type == "Degraded" and c.status == "True"}
    for condition in new.conditions:
        unmet = condition.type in WHEN_FALSE and condition.status == "False"
        if condition.type not in ON_CHANGE and not unmet:
            continue
        if old.get(condition.type) == (condition.status, condition.reason):
            continue
        if condition.type == "Degraded" and condition.status == "False":
            continue
        if condition.type == "Ready" and (condition.reason, condition.message) in degraded:
            continue  # the Warning of Degraded has the same text
        bad = unmet or (condition.type != "Ready" and condition.status == "True")
        ctx.events.event(
            manifest,
            type="Warning" if bad else "Normal",
            reason=condition.reason,
            message=condition.message,
            began=True,
        )
