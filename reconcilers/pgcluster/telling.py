"""Events on the custom resource: one for each condition that turns."""

from pgoperator.api.status import PGClusterStatus
from pgoperator.context import Context
from pgoperator.kube.manifest import Manifest

# Conditions of which an event tells when they turn.
TOLD = (
    *("Ready", "Degraded", "FieldsIgnored", "FieldsOverridden"),
    *("BackupOverdue", "BackupScheduleInvalid", "ArchivingFailing", "ArchiveGap", "RepositorySpaceLow"),
)
# Conditions of which an event tells when they are not met.
MISSED = ("ExtensionsReady", "PMMReady")


def tell(ctx: Context, manifest: Manifest, new: PGClusterStatus) -> None:
    """Compare with the status that was there before; of what did not turn nothing is said.

    A state that has ended is told again when it comes back. One that a watch is late to show is not: it is
    compared with the same status twice.
    """
    old = {
        c["type"]: (c["status"], c["reason"]) for c in (manifest.get("status") or {}).get("conditions", [])
    }
    for reason in {reason for _, reason in old.values()} - {one.reason for one in new.conditions}:
        ctx.events.forget(manifest, reason)
    for condition in new.conditions:
        missed = condition.type in MISSED and condition.status == "False"
        if condition.type not in TOLD and not missed:
            continue
        if old.get(condition.type) == (condition.status, condition.reason):
            continue
        if condition.type == "Degraded" and condition.status == "False":
            continue
        bad = missed or (condition.type != "Ready" and condition.status == "True")
        ctx.events.event(
            manifest,
            type="Warning" if bad else "Normal",
            reason=condition.reason,
            message=condition.message,
            began=True,
        )
