"""Whether a restore can be: decided from its options and what the repository says, before anything stops.

Pure. What cannot be is an InvalidSpec with a sentence for the person who asked for it.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from pgoperator.errors import InvalidSpec
from pgoperator.postgres import pgbackrest_options
from pgoperator.postgres.pgbackrest_info import Backup, Info

TYPES = ("default", "immediate", "lsn", "name", "time", "xid")
_LSN = re.compile(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}")
_SHORT_ZONE = re.compile(r"([+-]\d{2})$")


def words(options: Sequence[str]) -> list[str]:
    """The user's options as words for `pgbackrest restore`."""
    found = pgbackrest_options.restore(options)
    kind = pgbackrest_options.value(found, "type") or "default"
    target = pgbackrest_options.value(found, "target")
    if kind not in TYPES:
        raise InvalidSpec(
            f"--type={kind} does not end in a primary: use one of {', '.join(TYPES)}", reason="InvalidOption"
        )
    if kind in ("default", "immediate"):
        if target is not None:
            raise InvalidSpec(
                f"--target={target} needs a --type: time, lsn, xid or name", reason="InvalidOption"
            )
        return found
    if not target:
        raise InvalidSpec(f"--type={kind} needs a --target", reason="InvalidOption")
    if kind == "time":
        moment(target)
    if kind == "lsn" and _LSN.fullmatch(target) is None:
        raise InvalidSpec(f"--target={target} is not a position such as 0/3000060", reason="InvalidTarget")
    if kind == "xid" and not target.isdigit():
        raise InvalidSpec(f"--target={target} is not the number of a transaction", reason="InvalidTarget")
    return found


def moment(text: str) -> datetime:
    """A target time; without a zone it is UTC, the zone of our servers."""
    plain = re.sub(r"\s*(Z|UTC|GMT)$", "+00:00", text.strip())
    plain = _SHORT_ZONE.sub(r"\1:00", plain) if " " in plain or "T" in plain else plain
    try:
        found = datetime.fromisoformat(re.sub(r"\s+([+-])", r"\1", plain))
    except ValueError:
        raise InvalidSpec(
            f"--target={text} is not a time such as 2026-01-31 13:45:00+00", reason="InvalidTarget"
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def against(info: Info, repo: int, options: Sequence[str], system: int | None, now: datetime) -> str | None:
    """Hold the options against the repository.

    Gives the newest WAL segment of the archive if the restore shall go to its end, else None.
    """
    backups = _usable(info, repo, system)
    chosen = pgbackrest_options.value(options, "set")
    if chosen is not None and chosen != "latest":
        found = next((b for b in backups if b.label == chosen), None)
        if found is None:
            labels = ", ".join(b.label for b in backups[-5:])
            raise InvalidSpec(f"repo{repo} has no backup {chosen}; it has {labels}", reason="BackupNotFound")
        first = found
    else:
        first = backups[0]
    kind = pgbackrest_options.value(options, "type") or "default"
    target = pgbackrest_options.value(options, "target") or ""
    if kind == "time":
        _check_time(moment(target), first, now)
    if kind == "lsn" and first.lsn_stop and _position(target) < _position(first.lsn_stop):
        raise InvalidSpec(
            f"position {target} is before the end of backup {first.label}, which is {first.lsn_stop}",
            reason="InvalidTarget",
        )
    if kind != "default" or pgbackrest_options.value(options, "target-timeline") is not None:
        return None
    # The newest segment is of the newest timeline, which is the one that recovery follows.
    return next((a.max for a in info.archives if (a.database, a.repo) == (first.database, repo)), None)


def _usable(info: Info, repo: int, system: int | None) -> list[Backup]:
    status = info.status_of(repo)
    if status is not None and status.code not in (0, 2):  # 2: no valid backups, told below
        raise InvalidSpec(f"repo{repo} cannot be restored from: {status.message}", reason="RepoNotUsable")
    backups = list(info.of_repo(repo))
    if not backups:
        why = status.message if status else info.message
        raise InvalidSpec(f"repo{repo} has no backup to restore: {why}", reason="BackupNotFound")
    if system is None:
        return backups
    own = [b for b in backups if (d := info.database_of(b)) is not None and d.system_id == system]
    if not own:
        raise InvalidSpec(
            f"the backups in repo{repo} are of another database system than this cluster's ({system})",
            reason="OtherDatabase",
        )
    return own


def _check_time(target: datetime, first: Backup, now: datetime) -> None:
    if target > now:
        raise InvalidSpec(
            f"the target {target:%Y-%m-%d %H:%M:%S%z} is in the future; it is {now:%Y-%m-%d %H:%M:%S%z}",
            reason="InvalidTarget",
        )
    if target < first.stop:
        raise InvalidSpec(
            f"the target {target:%Y-%m-%d %H:%M:%S%z} is before the end of backup {first.label}, "
            f"{first.stop:%Y-%m-%d %H:%M:%S%z}: there is nothing to start from",
            reason="InvalidTarget",
        )


def _position(text: str) -> int:
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)
