"""What the Job of a backup says in its termination log (`pgbackrest-backup.sh`). Pure."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from pgoperator.api.pgbackup import RepoVolumeStatus
from pgoperator.errors import OperatorError
from pgoperator.postgres.pgbackrest_info import Backup, BadInfo, parse_backup


class BadReport(OperatorError):  # noqa: N818 - the name states the fact
    """A Job that succeeded left a report that cannot be read."""


@dataclass(frozen=True, slots=True)
class Report:
    """A finished backup, and what the repository holds beside it."""

    backup: Backup
    labels: frozenset[str]
    complete: bool
    """Whether `labels` are all; if not, they are the oldest."""
    volume: RepoVolumeStatus | None = None
    """Space on the repository's volume; None where there is none."""

    def has_lost(self, label: str) -> bool:
        """Whether the repository holds a backup no more."""
        if label in self.labels or label == self.backup.label:
            return False
        return self.complete or label < max(self.labels, default="")


def parse(text: str) -> Report:
    """Read a report; BadReport when it is none."""
    try:
        document = json.loads(text)
        words = document["labels"].split()
        backup = parse_backup(document["backup"])
        space = document.get("volume")
        volume = RepoVolumeStatus(free_bytes=space["free"], capacity_bytes=space["size"]) if space else None
    except (ValueError, KeyError, TypeError, AttributeError, BadInfo) as error:
        raise BadReport(f"the Job's report cannot be read: {text[:200]!r}") from error
    complete = "..." not in words
    return Report(backup, frozenset(_labels(word for word in words if word != "...")), complete, volume)


def _labels(words: Iterable[str]) -> list[str]:
    """Undo the shortening: a word without a date has that of the one before, and builds on the last full."""
    labels: list[str] = []
    full = date = ""
    for word in words:
        if "-" in word:
            date = word.partition("-")[0]
        own = word if "-" in word else f"{date}-{word}"
        if own.endswith("F"):
            full = own
        labels.append(own if own.endswith("F") else f"{full}_{own}")
    return labels
