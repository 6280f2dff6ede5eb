"""Parse the report in the termination message of a backup's Job (`pgbackrest-backup.sh`). Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from pgoperator import limits
from pgoperator.api.pgbackup import RepoVolumeStatus
from pgoperator.errors import OperatorError
from pgoperator.postgres.pgbackrest_info import Backup, BadInfo, parse_backup


class BadReport(OperatorError):  # noqa: N818 - the name states the fact
    """The report of a successful Job cannot be parsed."""


@dataclass(frozen=True, slots=True)
class Report:
    """A finished backup and the labels of all backups in its repository."""

    backup: Backup
    labels: frozenset[str]
    complete: bool
    """Whether `labels` is complete; otherwise it has the oldest labels only."""
    volume: RepoVolumeStatus | None = None
    """Space on the repository's volume; None for an object store."""

    def has_lost(self, label: str) -> bool:
        """Whether the repository no longer contains a backup."""
        if label in self.labels or label == self.backup.label:
            return False
        return self.complete or label < max(self.labels, default="")


def parse(text: str) -> Report:
    """Parse a report; BadReport if it is invalid."""
    try:
        document = limits.loads(text)
        names = document["labels"].split()
        backup = parse_backup(document["backup"])
        space = document.get("volume")
        volume = RepoVolumeStatus(free_bytes=space["free"], capacity_bytes=space["size"]) if space else None
    except (*limits.MALFORMED, BadInfo) as error:
        raise BadReport(f"cannot parse the report of the backup's Job: {text[:200]!r}") from error
    complete = "..." not in names
    return Report(backup, frozenset(_labels(name for name in names if name != "...")), complete, volume)


def _labels(names: Iterable[str]) -> list[str]:
    """Expand short labels: without a date they have the previous date; they follow their full backup."""
    labels: list[str] = []
    full = date = ""
    for name in names:
        if "-" in name:
            date = name.partition("-")[0]
        own = name if "-" in name else f"{date}-{name}"
        if own.endswith("F"):
            full = own
        labels.append(own if own.endswith("F") else f"{full}_{own}")
    return labels
