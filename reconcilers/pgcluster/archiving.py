"""What the primary tells of its archive, by annotations of its pod (`archive-time.sh`). Pure."""

import json
from dataclasses import dataclass
from datetime import datetime

from pgoperator import labels
from pgoperator.kube.manifest import Manifest, annotations_of

ARCHIVED = labels.PERCONA + "archived"
"""On an instance's pod: what `archive-time.sh` has pushed last, as JSON."""
FAILURE = labels.PERCONA + "archive-failure"
"""On an instance's pod: why it cannot push WAL, as JSON; absent while it can."""


@dataclass(frozen=True, slots=True)
class Gap:
    """WAL that a repository lacks (`archive-gap.sh`)."""

    repo: str
    wal: str
    """The first segment."""
    after: str
    """Label of the backup before it."""


@dataclass(frozen=True, slots=True)
class Archived:
    """What the primary has pushed to the archive last."""

    pushed: datetime
    commit: datetime | None
    """Of the last transaction in it; None when it holds none."""
    gaps: tuple[Gap, ...] = ()
    """What the repositories lack of before the primary's timeline."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the primary cannot archive."""

    since: datetime
    cause: str
    """pgBackRest's words."""

    def is_about(self, repo: str, repos: int) -> bool:
        """Whether it is this repository that takes no WAL; pgBackRest names it when there are others."""
        return repos == 1 or f"{repo}:" in self.cause


def failure(pod: Manifest | None) -> Failure | None:
    """Read the annotation of a pod; None when there is none, or it cannot be read."""
    try:
        found = json.loads(annotations_of(pod).get(FAILURE, "") if pod else "")
        return Failure(datetime.fromisoformat(found["since"]), str(found["cause"]))
    except (ValueError, KeyError, TypeError):
        return None


def archived(pod: Manifest | None) -> Archived | None:
    """Read the annotation of a pod; None when there is none, or it cannot be read."""
    text = annotations_of(pod).get(ARCHIVED, "") if pod else ""
    try:
        found = json.loads(text)
        commit = found.get("commit")
        return Archived(
            datetime.fromisoformat(found["pushed"]),
            datetime.fromisoformat(commit) if commit else None,
            tuple(
                Gap(f"repo{gap['repo']}", str(gap["wal"]), str(gap["after"])) for gap in found.get("gaps", [])
            ),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
