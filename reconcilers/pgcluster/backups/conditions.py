"""The conditions about backups and WAL archiving. Pure.

Only pgBackRest has access to the volume of a repository: each backup measures the free space at its end, and
the first segment that cannot be written shows that the volume is full.
"""

from collections.abc import Sequence
from datetime import timedelta

from pgoperator import naming
from pgoperator.api.pgbackup import PGBackup
from pgoperator.api.repositories import Repository
from pgoperator.api.states import BROKEN_PAGES, FAILED, SUCCEEDED
from reconcilers.pgcluster.backups import decide_backup_request, decide_readiness, decide_wal_gaps
from reconcilers.pgcluster.backups.build_backup_status import health
from reconcilers.pgcluster.backups.decide_readiness import FOREIGN, host_ready
from reconcilers.pgcluster.backups.inventory import (
    BackupInventory,
    first_is_complete,
    first_name,
    overdue,
    settling,
)
from reconcilers.pgcluster.state import archiver
from reconcilers.pgcluster.state.findings import Finding, Problem
from reconcilers.pgcluster.state.view import View

LOW = 0.1
"""Share of free space below which `RepositorySpaceLow` is set."""
_FULL = "No space left on device"
_MIB = 1024 * 1024


def conditions(
    view: View, backups: BackupInventory, stanza_hash: str | None, stanza_problem: Problem | None = None
) -> list[Finding]:
    """All conditions about backups.

    `stanza_hash` is the digest of the repositories whose stanza exists, `stanza_problem` why the last attempt
    to create it failed.
    """
    ready, created = host_ready(view), stanza_hash is not None
    pod = naming.pod(naming.repo_host(view.name))
    host = Finding(
        "PGBackRestRepoHostReady",
        ready,
        "RepoHostReady" if ready else "RepoHostNotReady",
        "the repository host is ready" if ready else f"the repository host is not ready: check pod {pod}",
    )
    stanza = _stanza(view, created=created, problem=stanza_problem)
    first = _first(view, backups, stanza_hash)
    return [
        *(_summary(view, (host, stanza, first)), host, stanza, first),
        *_archiving(view, created=created),
        *_schedules(view, backups),
        *_broken(backups),
        *decide_backup_request.conditions(view, backups),
        *_space(view, backups),
        *decide_wal_gaps.conditions(view, backups),
    ]


def _summary(view: View, required: Sequence[Finding]) -> Finding:
    """Whether backups can be taken; `required` are the conditions that must be true for it."""
    if (held := decide_readiness.held(view)) is not None:
        return held
    kind = decide_readiness.READY
    if failing := next((finding for finding in required if not finding.status), None):
        return Finding(kind, False, failing.type, failing.message)
    if view.observed.primary is None:
        return Finding(kind, False, "NoPrimary", "no primary accepts writes")
    return Finding(kind, True, "AllConditionsAreTrue", "backups can be taken")


def _stanza(view: View, *, created: bool, problem: Problem | None) -> Finding:
    """Whether the stanza exists; the problem of a failed attempt stays until the next attempt."""
    kind = "PGBackRestReplicaRepoReady"
    if created:
        return Finding(kind, True, "StanzaCreated", "the stanza exists; WAL can be archived")
    message = "the stanza does not exist yet; until then WAL accumulates on the primary"
    if problem is not None and problem.reason == FOREIGN:
        text = f"nothing is archived, and WAL accumulates on the primary: {problem.message}"
        return Finding(kind, False, FOREIGN, text)
    if problem is not None:
        return Finding(kind, False, problem.reason, f"{message}: {problem.message}")
    reported = view.cluster.status.condition(kind)
    if reported is not None and reported.reason in ("StanzaFailed", FOREIGN):
        return Finding(kind, False, reported.reason, reported.message)
    return Finding(kind, False, "StanzaNotCreated", message)


def _first(view: View, backups: BackupInventory, stanza_hash: str | None) -> Finding:
    """Whether the first backup, from which replicas are created, is complete."""
    kind = "PGBackRestReplicaCreate"
    if first_is_complete(view, backups, stanza_hash):
        return Finding(kind, True, "RepoBackupComplete", "the first backup is complete")
    name = first_name(view, backups)
    backup = backups.find(name)
    if backup is not None and backup.status.state == FAILED:
        message = f"the first backup {name} failed and will be retried: {backup.status.error}"
        return Finding(kind, False, "RepoBackupFailed", message)
    return Finding(kind, False, "RepoBackupNotComplete", f"the first backup {name} is not complete yet")


def _archiving(view: View, *, created: bool) -> list[Finding]:
    """The condition while WAL cannot be archived; without a stanza, `_stanza` reports it."""
    primary = view.observed.primary
    failure = archiver.failure(primary.pod) if primary and created else None
    if primary is None or failure is None or settling(view) > timedelta():
        return []
    since = f"{failure.since:%Y-%m-%dT%H:%M:%SZ}"
    text = f"WAL has not been archived since {since} and accumulates on the volume of {primary.pod_name}"
    return [Finding("ArchivingFailing", True, "ArchivePushFailed", f"{text}: {failure.cause}")]


def _schedules(view: View, backups: BackupInventory) -> list[Finding]:
    result: list[Finding] = []
    if backups.turns.bad:
        result.append(Finding("BackupScheduleInvalid", True, "InvalidSchedule", "; ".join(backups.turns.bad)))
    if late := [text for turn in backups.turns.turns if (text := overdue(backups, turn, view.now))]:
        result.append(Finding("BackupOverdue", True, "BackupOverdue", "; ".join(late)))
    return result


def _broken(backups: BackupInventory) -> list[Finding]:
    """The condition of repositories whose newest backups have broken pages, until a full backup has none."""
    broken: dict[str, PGBackup] = {}
    done = [b for b in backups.backups if b.status.state == SUCCEEDED and b.status.completed]
    for backup in sorted(done, key=lambda b: str(b.status.completed)):
        repo = backup.spec.repo_name or ""
        if any(c.type == BROKEN_PAGES and c.status == "True" for c in backup.status.conditions):
            broken[repo] = backup
        elif backup.status.backup_type == "full":
            broken.pop(repo, None)
    if not broken:
        return []
    names = [f"backup {b.name} ({b.status.backup_name}) in {repo}" for repo, b in sorted(broken.items())]
    text = "pages with wrong checksums; no older backup expires until a backup finds none"
    return [Finding(BROKEN_PAGES, True, "PagesWithWrongChecksums", f"{', '.join(names)}: {text}")]


def _space(view: View, backups: BackupInventory) -> list[Finding]:
    """The condition of repository volumes that are full or nearly full; none while all have space."""
    volumes = [repo for repo in view.repos if repo.volume is not None]
    full = [
        f"the volume of {repo.name} is full and accepts no WAL: enlarge it, or delete old backups"
        for repo in volumes
        if is_full(view, repo)
    ]
    low = [text for repo in volumes if not is_full(view, repo) and (text := _low(view, backups, repo))]
    if not full and not low:
        return []
    return [
        Finding(
            "RepositorySpaceLow", True, "RepositoryFull" if full else "SpaceLow", "; ".join([*full, *low])
        )
    ]


def is_full(view: View, repo: Repository) -> bool:
    """Whether the repository's volume refused WAL because it is full, and not another volume."""
    primary = view.observed.primary
    failure = archiver.failure(primary.pod if primary else None)
    return failure is not None and _FULL in failure.cause and f"/pgbackrest/{repo.name}/" in failure.cause


def _low(view: View, backups: BackupInventory, repo: Repository) -> str:
    space = health(view, backups, repo)
    free, size = space["free_bytes"], space["capacity_bytes"]
    if free is None or not size or free >= LOW * size:
        return ""
    at = f"{space['measured']:%Y-%m-%dT%H:%M:%SZ}"
    return f"{repo.name} had {free // _MIB} of {size // _MIB} MiB free after the backup of {at}"
