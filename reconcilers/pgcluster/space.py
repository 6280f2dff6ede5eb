"""Whether the volumes of repositories have room: pure, from what backups measured and why WAL stays.

Nobody of the cluster sees such a volume but pgBackRest at work: it is measured at the end of each backup into
it, and one that is full is known by the first segment that it does not take.
"""

from pgoperator.api.repositories import Repository
from reconcilers.pgcluster import archive, archiving
from reconcilers.pgcluster.archive import Book, Fact
from reconcilers.pgcluster.view import View

LOW = 0.1
"""Share of a volume that is free when it is time to think about it."""
_FULL = "No space left on device"
_MIB = 1024 * 1024


def facts(view: View, known: Book) -> list[Fact]:
    """The condition of volumes that are full or will soon be; none while all have room."""
    volumes = [repo for repo in view.cluster.spec.backups.repos if repo.volume is not None]
    full = [f"the volume of {repo.name} is full: it takes no WAL" for repo in volumes if is_full(view, repo)]
    low = [text for repo in volumes if not is_full(view, repo) and (text := _low(view, known, repo))]
    if not full and not low:
        return []
    return [("RepositorySpaceLow", True, "RepositoryFull" if full else "SpaceLow", "; ".join([*full, *low]))]


def is_full(view: View, repo: Repository) -> bool:
    """Whether it does not take WAL for that; other disks, as that of the primary, may be full as well."""
    primary = view.observed.primary
    failed = archiving.failure(primary.pod if primary else None)
    return failed is not None and _FULL in failed.cause and f"/pgbackrest/{repo.name}/" in failed.cause


def _low(view: View, known: Book, repo: Repository) -> str:
    found = archive.health(view, known, repo)
    free, size = found["free_bytes"], found["capacity_bytes"]
    if free is None or not size or free >= LOW * size:
        return ""
    at = f"{found['measured']:%Y-%m-%dT%H:%M:%SZ}"
    return f"{repo.name} had {free // _MIB} of {size // _MIB} MiB free after the backup of {at}"
