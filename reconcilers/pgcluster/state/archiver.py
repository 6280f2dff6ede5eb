"""The state of WAL archiving, from annotations on the primary's pod. Pure.

`archive-time.sh` writes both annotations, as JSON.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pgoperator import labels, limits
from pgoperator.kube.manifest import Manifest, annotations_of

_MOMENT = re.compile(r"\d{8}-\d{6}")
_NAME = re.compile(r"[0-9A-FDI_-]{1,100}")
_CLOCKS = timedelta(minutes=1)
"""By how much the clocks of nodes may differ."""


@dataclass(frozen=True, slots=True)
class Gap:
    """WAL that is missing from a repository (`archive-gap.sh`)."""

    repo: str
    """Name of the repository, such as `repo1`."""
    wal: str
    """Name of the first missing segment; "" if the last backup is not in the history of the timeline."""
    after: str
    """Label of the last backup before the gap, or the time at which the primary found it."""

    @property
    def moment(self) -> str:
        """A backup that begins later leads beyond the gap: 20260102-000000, as in a backup's label."""
        return begun(self.after)

    @property
    def is_hole(self) -> bool:
        """Whether `after` is a time in UTC; the times in labels are local times of the backups' Jobs."""
        return self.after == self.moment


@dataclass(frozen=True, slots=True)
class Archived:
    """The last WAL that the primary pushed to the archive."""

    pushed: datetime
    """Time of the push."""
    commit: datetime | None
    """Commit time of the last transaction in that WAL; None when the WAL contains no transaction."""
    gaps: tuple[Gap, ...] = ()
    """WAL that is missing from repositories."""
    unknown: tuple[str, ...] = ()
    """Repositories of which that is not known, because they did not answer."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the primary cannot archive."""

    since: datetime
    cause: str
    """pgBackRest's error message."""

    def is_missing_stanza(self, repo: str) -> bool:
        """Whether this repository refuses WAL because it has no stanza."""
        return f"{repo}: [FileMissingError]" in self.cause and "archive.info" in self.cause

    def is_about(self, repo: str, repos: int) -> bool:
        """Whether this repository refuses WAL; pgBackRest names it only when there are several."""
        return repos == 1 or f"{repo}:" in self.cause


def failure(pod: Manifest | None) -> Failure | None:
    """Read the annotation `archive-failure` of a pod; None when it is absent or malformed."""
    try:
        report = limits.loads(annotations_of(pod).get(labels.ARCHIVE_FAILURE, "") if pod else "")
        return Failure(limits.moment(report["since"]), str(report["cause"]))
    except limits.MALFORMED:
        return None


def begun(label: str) -> str:
    """The start time in a backup's label: 20260102-000000 in 20260101-000000F_20260102-000000I."""
    return label.rpartition("_")[2][:15]


def archived(pod: Manifest | None, now: datetime | None = None) -> Archived | None:
    """Read the annotation `archived` of a pod; None when it is absent or malformed.

    Gaps after `now` are left out: no backup would ever end them.
    """
    text = annotations_of(pod).get(labels.ARCHIVED, "") if pod else ""
    try:
        report = limits.loads(text)
        commit = report.get("commit")
        return Archived(
            limits.moment(report["pushed"]),
            limits.moment(commit) if commit else None,
            tuple(gap for each in report.get("gaps", []) if (gap := _gap(each, now)) is not None),
            tuple(f"repo{int(repo)}" for repo in report.get("unknown", [])),
        )
    except limits.MALFORMED:
        return None


def _gap(found: Mapping[str, Any], now: datetime | None) -> Gap | None:
    gap = Gap(f"repo{found['repo']}", str(found["wal"]), str(found["after"]))
    if not _MOMENT.fullmatch(gap.moment) or not _NAME.fullmatch(gap.wal + gap.after):
        return None
    latest = f"{now + _CLOCKS:%Y%m%d-%H%M%S}" if now is not None else gap.moment
    return gap if gap.moment <= latest else None
