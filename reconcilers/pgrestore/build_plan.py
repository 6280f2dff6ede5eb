"""What a restore would do, for the status of a dry run (`--dry-run`). Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from pgoperator.kube.manifest import Manifest
from pgoperator.postgres import pgbackrest_options
from reconcilers.pgrestore import decide_check
from reconcilers.pgrestore.decide_check import Choice

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class DryRun:
    """The end of a dry run: all checks have passed."""

    plan: Manifest
    """`status.plan`."""
    message: str


def of(options: Sequence[str], choice: Choice, instance: str, archived: str | None) -> DryRun:
    """The result of a dry run; `archived` is the newest segment that recovery has to reach."""
    target = _target(options, choice, archived)
    plan = {
        "backupSet": choice.label,
        "timeline": choice.timeline,
        "target": target,
        "bytes": choice.size,
        "instance": instance,
    }
    timeline = f"on timeline {choice.timeline} " if choice.timeline else ""
    message = (
        f"dry run, nothing was changed: the restore would stop the cluster, restore backup {choice.label} "
        f"({choice.size // _MIB} MiB) on {instance}, and recover {timeline}to {target}"
    )
    loss = (
        "no transaction that is archived" if decide_check.needs_end(options) else "what was committed later"
    )
    return DryRun(plan, f"{message}; {loss} would be lost")


def _target(options: Sequence[str], choice: Choice, archived: str | None) -> str:
    """The target in words; a time is in UTC."""
    value = pgbackrest_options.option_value
    kind, target = value(options, "type") or "default", value(options, "target") or ""
    bound = "before" if "--target-exclusive" in options or "--target-exclusive=y" in options else "up to"
    match kind:
        case "immediate":
            return f"the end of backup {choice.label}"
        case "time":
            return f"the last transaction {bound} {decide_check.moment(target):%Y-%m-%dT%H:%M:%S.%fZ}"
        case "lsn":
            return f"position {target}"
        case "xid":
            return f"the end of transaction {target}"
        case "name":
            return f"restore point {target}"
    return f"the end of the archive{f', at present segment {archived}' if archived else ''}"
