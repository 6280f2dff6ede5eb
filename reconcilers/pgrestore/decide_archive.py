"""Whether the archive has the newest WAL, before a restore to its end stops the instances. Pure.

The status keeps in `walLast` the segment that the primary finished for the restore. The proof is the
repository itself: PostgreSQL also counts a segment as archived that pgBackRest dropped. What is written
between this proof and the stop is archived by the restore Job (`restore-archive.sh`).
"""

from collections.abc import Sequence
from datetime import timedelta

from pgoperator import labels
from pgoperator.api.cluster import PGCluster
from pgoperator.api.pgrestore import PGRestore
from pgoperator.errors import InvalidSpec
from pgoperator.postgres import timelines
from reconcilers.pgcluster.backups.decide_readiness import FOREIGN
from reconcilers.pgcluster.bootstrap.decide_restore_gate import is_bootstrap
from reconcilers.pgrestore import decide_check

PATIENCE = timedelta(minutes=2)
"""How long the newest WAL may take to be archived; PostgreSQL retries a failed push every minute."""
PRIMARY_PATIENCE = timedelta(seconds=30)
"""How long a primary may be absent, as during a failover."""
_ACCEPT = (
    f'To accept the loss, create a PerconaPGRestore with the annotation {labels.ACCEPT_WAL_LOSS}: "true"'
)


def is_accepted(restore: PGRestore) -> bool:
    """Whether the user accepts that WAL which is not archived is lost."""
    return restore.metadata.annotations.get(labels.ACCEPT_WAL_LOSS) == "true"


def former_wal(restore: PGRestore, arguments: Sequence[str]) -> str:
    """What the Job does with WAL that only the former data has; "" if recovery does not need it."""
    if is_bootstrap(restore) or not decide_check.needs_end(arguments):
        return ""
    return "optional" if is_accepted(restore) else "required"


def check_owner(cluster: PGCluster, restore: PGRestore, arguments: Sequence[str]) -> None:
    """InvalidSpec if the Job could archive into the repository of another cluster, as its source's."""
    stanza = cluster.status.condition("PGBackRestReplicaRepoReady")
    if stanza is not None and stanza.status != "True" and stanza.reason == FOREIGN:
        raise InvalidSpec(stanza.message, reason=FOREIGN)
    is_own = stanza is not None and stanza.status == "True"
    if not is_own and former_wal(restore, arguments) == "required":
        raise InvalidSpec(
            f"the operator has not found the repositories of cluster {cluster.name!r} to be its own yet: "
            "wait until its condition PGBackRestReplicaRepoReady is true, and restore again",
            reason="RepoNotConfirmed",
        )


def segment(report: str) -> str:
    """Name of the segment that ends before a position; `report` is `LSN|SEGMENT|BYTES`.

    SEGMENT is a segment of the present timeline, BYTES the size of segments.
    """
    try:
        position, present, size = report.split("|")
        number, each = (timelines.position(position) - 1) // int(size), (1 << 32) // int(size)
        return f"{int(present[:8], 16):08X}{number // each:08X}{number % each:08X}"
    except (ValueError, ZeroDivisionError):
        raise InvalidSpec(
            f"the primary's answer about its WAL cannot be parsed: {report[:200]!r}", reason="WALNotArchived"
        ) from None


def no_primary(cluster: str, repo: str, archived: str | None) -> InvalidSpec:
    """The refusal of a restore to the end of the archive while nobody can archive the newest WAL."""
    return InvalidSpec(
        f"cluster {cluster!r} has no primary that could archive its newest WAL: {may_lack(repo, archived)}. "
        f"Start the primary again, or choose a target before that. {_ACCEPT}",
        reason="NoPrimary",
    )


def not_archived(repo: str, archived: str | None, wanted: str, waiting: str, cause: str) -> InvalidSpec:
    """The refusal of a restore to the end of the archive while the archive lacks the newest WAL.

    `waiting` is the number of files of WAL that are not archived, `cause` why.
    """
    return InvalidSpec(
        f"{waiting or 'an unknown number of'} files of WAL wait to be archived, up to segment {wanted}; "
        f"{may_lack(repo, archived)}{f': {cause}' if cause else ''}. Fix the repository, wait until "
        f"ArchivingFailing is absent, and restore again. {_ACCEPT}",
        reason="WALNotArchived",
    )


def may_lack(repo: str, archived: str | None) -> str:
    """What the archive has, and what a restore to its end loses."""
    if archived is None:
        return f"{repo} has no WAL, and transactions since the backup may be lost"
    return f"{repo} has WAL up to segment {archived}, and transactions after it may be lost"
