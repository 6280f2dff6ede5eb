"""Whether a restore is possible, decided from options and `pgbackrest info` before instances stop. Pure.

An impossible request is an InvalidSpec with a message for the user.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pgoperator.errors import InvalidSpec
from pgoperator.postgres import pgbackrest_options
from pgoperator.postgres.pgbackrest_info import Backup, Info
from pgoperator.postgres.timelines import Timeline, position

TYPES = ("default", "immediate", "lsn", "name", "time", "xid")
_MIB = 1024 * 1024
_LSN = re.compile(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}")
_SHORT_ZONE = re.compile(r"([+-]\d{2})$")


def arguments(options: Sequence[str]) -> list[str]:
    """Return the user's options as arguments for `pgbackrest restore`.

    A target time is converted to the only format that pgBackRest accepts.
    """
    found = pgbackrest_options.without_dry_run(pgbackrest_options.restore(options))
    kind = pgbackrest_options.option_value(found, "type") or "default"
    target = pgbackrest_options.option_value(found, "target")
    if kind not in TYPES:
        raise InvalidSpec(
            f"--type={kind} does not end in a primary: use one of {', '.join(TYPES)}", reason="InvalidOption"
        )
    if kind in ("default", "immediate"):
        if target is not None:
            raise InvalidSpec(
                f"--target={target} needs a --type: time, lsn, xid or name", reason="InvalidOption"
            )
        if (option := _not_with(kind, found)) is not None:
            raise InvalidSpec(f"{option} cannot be used with --type={kind}", reason="InvalidOption")
        return found
    if not target:
        raise InvalidSpec(f"--type={kind} needs a --target", reason="InvalidOption")
    if (option := _not_with(kind, found)) is not None:
        raise InvalidSpec(f"{option} cannot be used with --type={kind}", reason="InvalidOption")
    if kind == "time":
        return [f"--target={_canonical(target)}" if w.startswith("--target=") else w for w in found]
    if kind == "lsn" and _LSN.fullmatch(target) is None:
        raise InvalidSpec(f"--target={target} is not a position such as 0/3000060", reason="InvalidTarget")
    if kind == "xid" and not target.isdigit():
        raise InvalidSpec(f"--target={target} is not the number of a transaction", reason="InvalidTarget")
    return found


def is_dry_run(options: Sequence[str]) -> bool:
    """Whether a restore is only checked; not if its options are invalid."""
    try:
        return pgbackrest_options.is_dry_run(pgbackrest_options.restore(options))
    except InvalidSpec:
        return False


_LONGEST = 100
"""Characters of a time; a longer text is none."""


def moment(text: str) -> datetime:
    """Parse a target time; without a time zone it is UTC, the time zone of the servers."""
    # The searches take time that grows with the square of the length.
    plain = re.sub(r"\s*(Z|UTC|GMT)$", "+00:00", text.strip()[:_LONGEST].upper())
    plain = _SHORT_ZONE.sub(r"\1:00", plain) if " " in plain or "T" in plain else plain
    try:
        found = datetime.fromisoformat(re.sub(r"\s+([+-])", r"\1", plain))
    except ValueError:
        raise InvalidSpec(
            f"--target={text} is not a time such as 2026-01-31 13:45:00+00", reason="InvalidTarget"
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _canonical(target: str) -> str:
    """The time in a format that both pgBackRest and PostgreSQL accept."""
    return f"{moment(target).astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00"


def _not_with(kind: str, found: Sequence[str]) -> str | None:
    """An option that pgBackRest does not accept with this --type; None if there is none."""
    refused = []
    if kind not in ("lsn", "time", "xid"):
        refused.append(r"--(no-)?target-exclusive(=.*)?")
    if kind == "immediate":
        refused.append(r"--target-timeline=.*")
    return next((option for option in found for pattern in refused if re.fullmatch(pattern, option)), None)


@dataclass(frozen=True, slots=True)
class Choice:
    """The backup to start from, and the WAL that recovery has to reach."""

    label: str
    """Label of the backup."""
    wal_last: str | None = None
    """The newest WAL segment of the archive if recovery has to reach its end, else None."""
    size: int = 0
    """Bytes of the database at the time of the backup."""
    timeline: int | None = None
    """The timeline that recovery follows; None if that is not known."""


def choose(
    info: Info,
    repo: int,
    options: Sequence[str],
    system: int | None,
    now: datetime,
    *,
    version: int | None = None,
    timeline: Timeline | None = None,
) -> Choice:
    """Check the options against the repository and choose the backup.

    pgBackRest does not choose it: it would take a backup of any database system in the repository, and one
    from which recovery cannot get to `timeline`, the one to follow, if its history is known.
    """
    backups = _usable(info, repo, system)
    chosen = pgbackrest_options.option_value(options, "set")
    if chosen is not None and chosen != "latest":
        found = next((b for b in backups if b.label == chosen), None)
        if found is None:
            labels = ", ".join(b.label for b in backups[-5:])
            raise InvalidSpec(f"repo{repo} has no backup {chosen}; it has {labels}", reason="BackupNotFound")
        _leading([found], repo, timeline)
        first = found
    else:
        # An upgraded stanza also contains the backups of earlier database systems.
        backups = [b for b in backups if b.database == backups[-1].database]
        backups = _leading(backups, repo, timeline)
        first = backups[0]
    kind = pgbackrest_options.option_value(options, "type") or "default"
    target = pgbackrest_options.option_value(options, "target") or ""
    if kind == "time":
        _check_time(moment(target), first, now)
    if kind == "lsn" and first.lsn_stop and position(target) < position(first.lsn_stop):
        raise InvalidSpec(
            f"position {target} is before the end of backup {first.label}, which is {first.lsn_stop}",
            reason="InvalidTarget",
        )
    start = first
    if chosen in (None, "latest"):
        able = [b for b in backups if _ends_before(b, kind, target)]
        start = able[-1] if able else first
    _check_version(info, start, version)
    # Recovery follows the newest timeline, to which the newest segment belongs.
    last = next((a.max for a in info.archives if (a.database, a.repo) == (start.database, repo)), None)
    number = _timeline(options, start, last)
    return Choice(start.label, last if needs_end(options) else None, start.size, number)


def followed(info: Info, repo: int, options: Sequence[str], system: int | None) -> tuple[str, int] | None:
    """The archive and the timeline that recovery follows; None if it stays on that of the backup."""
    backups = _usable(info, repo, system)
    chosen = pgbackrest_options.option_value(options, "set")
    start = next((b for b in backups if b.label == chosen), backups[-1])
    archive = next((a for a in info.archives if (a.database, a.repo) == (start.database, repo)), None)
    own = pgbackrest_options.option_value(options, "target-timeline") == "current"
    if archive is None or own or pgbackrest_options.option_value(options, "type") == "immediate":
        return None
    number = _timeline(options, start, archive.max)
    return (archive.id, number) if number is not None else None


def _leading(backups: list[Backup], repo: int, timeline: Timeline | None) -> list[Backup]:
    """The backups from which recovery can follow the timeline; InvalidSpec if there is none."""
    if timeline is None:
        return backups
    found = [
        b
        for b in backups
        if b.wal_stop is None
        or b.lsn_stop is None
        or timeline.has(int(b.wal_stop[:8], 16), position(b.lsn_stop))
    ]
    if found:
        return found
    subject = f"backup {backups[0].label} does" if len(backups) == 1 else f"the backups in repo{repo} do"
    raise InvalidSpec(
        f"{subject} not lead to timeline {timeline.number}, which has left theirs before they ended: name "
        "another timeline with --target-timeline, or another backup",
        reason="BackupNotFound",
    )


def _timeline(options: Sequence[str], start: Backup, last: str | None) -> int | None:
    """The timeline that recovery follows."""
    named = pgbackrest_options.option_value(options, "target-timeline") or "latest"
    if named not in ("current", "latest"):
        return int(named, 0) if named.startswith("0x") else int(named)
    ends_with_backup = pgbackrest_options.option_value(options, "type") == "immediate"
    segment = start.wal_stop if named == "current" or ends_with_backup else last
    return int(segment[:8], 16) if segment else None


def check_whole(options: Sequence[str]) -> None:
    """InvalidSpec for a restore in place of some databases only: it would destroy all others."""
    for option in options:
        if option.startswith(("--db-include", "--db-exclude")):
            raise InvalidSpec(
                f"{option} restores some databases only, and all others are lost: use it in spec.dataSource "
                "of a new cluster, and copy the data from there",
                reason="InvalidOption",
            )


def needs_end(options: Sequence[str]) -> bool:
    """Whether recovery goes on to the end of the archive, on the newest timeline."""
    kind = pgbackrest_options.option_value(options, "type") or "default"
    timeline = pgbackrest_options.option_value(options, "target-timeline")
    return kind == "default" and timeline in (None, "latest")


def check_room(choice: Choice, free: int, claim: str) -> None:
    """InvalidSpec if a second copy of the data does not fit on the volume, which has `free` bytes left."""
    if choice.size <= free:
        return
    raise InvalidSpec(
        f"backup {choice.label} has {choice.size // _MIB} MiB, but volume {claim} has only "
        f"{free // _MIB} MiB left for a second copy of the data: enlarge the volume, or restore over the "
        "former data with --delta",
        reason="NoRoom",
    )


def _check_version(info: Info, start: Backup, version: int | None) -> None:
    database = info.database_of(start)
    if version is not None and database is not None and database.version != str(version):
        raise InvalidSpec(
            f"backup {start.label} is of PostgreSQL {database.version}, "
            f"but spec.postgresVersion is {version}",
            reason="OtherVersion",
        )


def _usable(info: Info, repo: int, system: int | None) -> list[Backup]:
    status = info.status_of(repo)
    if status is not None and status.code not in (0, 2):  # 2: no valid backups, reported below
        raise InvalidSpec(f"repo{repo} is not usable for a restore: {status.message}", reason="RepoNotUsable")
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
    # pgBackRest compares whole seconds.
    if int(target.timestamp()) <= int(first.stop.timestamp()):
        raise InvalidSpec(
            f"the target {target:%Y-%m-%d %H:%M:%S%z} is not after the end of backup {first.label}, "
            f"{first.stop:%Y-%m-%d %H:%M:%S%z}: choose a later target",
            reason="InvalidTarget",
        )


def _ends_before(backup: Backup, kind: str, target: str) -> bool:
    """Whether recovery from the backup can end at the target; assumed for --type=xid and --type=name."""
    if kind == "time":
        return int(backup.stop.timestamp()) < int(moment(target).timestamp())
    if kind == "lsn" and backup.lsn_stop:
        return position(backup.lsn_stop) <= position(target)
    return True
