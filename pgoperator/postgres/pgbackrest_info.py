"""Parses the output of `pgbackrest info --output=json`.

The format is that of pgBackRest 2.32 and later (https://pgbackrest.org/command.html#command-info). Fields of
later versions are ignored; fields that an earlier version lacks are None.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pgoperator import limits
from pgoperator.errors import OperatorError

OK = 0
"""Status code of a stanza or repository that has a restorable backup."""


class BadInfo(OperatorError):  # noqa: N818 - the name states the fact
    """The text is not valid output of `pgbackrest info --output=json`."""


@dataclass(frozen=True, slots=True)
class Database:
    """A PostgreSQL cluster in the history of a stanza; a restore or a major upgrade adds one."""

    id: int
    repo: int
    system_id: int
    version: str
    """Major version, such as "17"."""


@dataclass(frozen=True, slots=True)
class Archive:
    """The WAL segments of one database in a repository, from `min` to `max`; None when there are none."""

    id: str
    """Major version and database id, such as "17-1"."""
    database: int
    repo: int
    min: str | None
    max: str | None


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup of a repository."""

    label: str
    type: str
    """full, diff or incr."""
    repo: int
    database: int
    start: datetime
    stop: datetime
    lsn_start: str | None
    lsn_stop: str | None
    wal_start: str | None
    wal_stop: str | None
    size: int
    """Bytes of the database."""
    delta: int
    """Bytes of the database that this backup had to copy."""
    repo_size: int | None
    """Stored bytes that a restore reads."""
    repo_delta: int | None
    """Bytes that this backup added to the repository."""
    error: bool | None
    """Whether the backup has pages with invalid checksums."""
    prior: str | None
    """Label of the backup that this one depends on directly; None for a full backup."""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def full_label(self) -> str:
        """Label of the full backup that this backup depends on; its own label for a full backup."""
        return self.label.partition("_")[0]


@dataclass(frozen=True, slots=True)
class RepoStatus:
    """Status of one repository; `code` is 0 with a restorable backup, `message` explains the code."""

    repo: int
    code: int
    message: str
    cipher: str


@dataclass(frozen=True, slots=True)
class Info:
    """A stanza in all requested repositories."""

    code: int
    message: str
    repos: tuple[RepoStatus, ...] = ()
    databases: tuple[Database, ...] = ()
    archives: tuple[Archive, ...] = ()
    backups: tuple[Backup, ...] = ()
    """Ordered from oldest to newest."""
    backup_running: bool = False

    def of_repo(self, number: int) -> tuple[Backup, ...]:
        """The backups of a repository, ordered from oldest to newest."""
        return tuple(backup for backup in self.backups if backup.repo == number)

    def backup(self, label: str, repo: int | None = None) -> Backup | None:
        """Find a backup by its label, in repository `repo` or in the first that has it."""
        return next((b for b in self.backups if b.label == label and repo in (None, b.repo)), None)

    def status_of(self, number: int) -> RepoStatus | None:
        """The status of a repository; None when the output does not contain it."""
        return next((status for status in self.repos if status.repo == number), None)

    def database_of(self, backup: Backup) -> Database | None:
        """The PostgreSQL cluster that a backup is of."""
        return next((d for d in self.databases if (d.id, d.repo) == (backup.database, backup.repo)), None)


def parse(text: str, stanza: str = "db") -> Info:
    """Parse the output for one stanza; a stanza without an entry gives an Info with a code other than OK.

    BadInfo when the text is not valid output.
    """
    try:
        own = next((entry for entry in _entries(text) if entry["name"] == stanza), None)
        if own is None:
            return Info(1, "missing stanza path")
        return _info(own)
    except limits.MALFORMED as error:
        raise BadInfo(f"cannot parse the output of pgbackrest info: {text.strip()[:200]!r}") from error


def parse_backup(entry: Mapping[str, Any]) -> Backup:
    """Parse one entry of the list `backup`; BadInfo when it is invalid."""
    try:
        return _backup(entry)
    except limits.MALFORMED as error:
        raise BadInfo(f"cannot parse a backup entry of pgbackrest info: {error!r}") from error


def _entries(text: str) -> list[Mapping[str, Any]]:
    entries = limits.loads(text)
    if not isinstance(entries, list):
        raise TypeError("not a list of stanzas")
    return entries


def _info(entry: Mapping[str, Any]) -> Info:
    status = entry["status"]
    backups = sorted((_backup(b) for b in entry.get("backup", ())), key=lambda b: (b.stop, b.label))
    return Info(
        code=limits.whole(status["code"]),
        message=str(status["message"]),
        repos=tuple(
            RepoStatus(
                limits.whole(repo["key"]),
                limits.whole(repo["status"]["code"]),
                str(repo["status"]["message"]),
                str(repo.get("cipher", "none")),
            )
            for repo in entry.get("repo", ())
        ),
        databases=tuple(
            Database(
                limits.whole(d["id"]),
                limits.whole(d.get("repo-key", 1)),
                int(d["system-id"]),
                str(d["version"]),
            )
            for d in entry.get("db", ())
        ),
        archives=tuple(_archive(archive) for archive in entry.get("archive", ())),
        backups=tuple(backups),
        backup_running=bool(status.get("lock", {}).get("backup", {}).get("held")),
    )


def _archive(entry: Mapping[str, Any]) -> Archive:
    database = entry["database"]
    return Archive(
        id=str(entry["id"]),
        database=limits.whole(database["id"]),
        repo=limits.whole(database.get("repo-key", 1)),
        min=_word(entry.get("min")),
        max=_word(entry.get("max")),
    )


def _backup(entry: Mapping[str, Any]) -> Backup:
    sizes, lsn, wal = entry["info"], entry.get("lsn") or {}, entry.get("archive") or {}
    stored = sizes.get("repository") or {}
    error = entry.get("error")
    return Backup(
        label=str(entry["label"]),
        type=str(entry["type"]),
        repo=limits.whole(entry["database"].get("repo-key", 1)),
        database=limits.whole(entry["database"]["id"]),
        start=datetime.fromtimestamp(limits.whole(entry["timestamp"]["start"]), UTC),
        stop=datetime.fromtimestamp(limits.whole(entry["timestamp"]["stop"]), UTC),
        lsn_start=_word(lsn.get("start")),
        lsn_stop=_word(lsn.get("stop")),
        wal_start=_word(wal.get("start")),
        wal_stop=_word(wal.get("stop")),
        size=limits.whole(sizes["size"]),
        delta=limits.whole(sizes["delta"]),
        repo_size=_optional(stored.get("size")),
        repo_delta=_optional(stored.get("delta")),
        # A list of invalid pages with --set, otherwise a boolean.
        error=None if error is None else bool(error),
        prior=_word(entry.get("prior")),
        annotations={str(k): str(v) for k, v in (entry.get("annotation") or {}).items()},
    )


def _word(value: Any) -> str | None:
    return str(value) if value else None


def _optional(number: Any) -> int | None:
    return None if number is None else limits.whole(number)
