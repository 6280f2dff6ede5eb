"""What `pgbackrest info --output=json` says, as values.

The format is that of pgBackRest 2.32 and later (https://pgbackrest.org/command.html#command-info); what a
later version adds is left alone, what an earlier one lacks is None.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pgoperator.errors import OperatorError

OK = 0
"""Status code of a stanza or repository that can be restored from."""


class BadInfo(OperatorError):  # noqa: N818 - the name states the fact
    """The text is not what `pgbackrest info --output=json` writes."""


@dataclass(frozen=True, slots=True)
class Database:
    """A PostgreSQL cluster that a stanza has known: a restore or a major upgrade adds one."""

    id: int
    repo: int
    system_id: int
    version: str
    """Major version, as in "17"."""


@dataclass(frozen=True, slots=True)
class Archive:
    """The WAL segments that a repository holds for one database, from `min` to `max`; None when none."""

    id: str
    """As in "17-1": major version and the database's id."""
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
    """Bytes that a restore reads, as they are stored."""
    repo_delta: int | None
    """Bytes that this backup added to the repository."""
    error: bool | None
    """Whether pages with wrong checksums were found."""
    prior: str | None
    """The backup that this one builds on directly; None for a full one."""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def full_label(self) -> str:
        """The label of the full backup that this one belongs to; its own for a full one."""
        return self.label.partition("_")[0]


@dataclass(frozen=True, slots=True)
class RepoStatus:
    """Whether one repository can be restored from; `code` 0 means yes, `message` says it in words."""

    repo: int
    code: int
    message: str
    cipher: str


@dataclass(frozen=True, slots=True)
class Info:
    """A stanza, over all repositories that were asked for."""

    code: int
    message: str
    repos: tuple[RepoStatus, ...] = ()
    databases: tuple[Database, ...] = ()
    archives: tuple[Archive, ...] = ()
    backups: tuple[Backup, ...] = ()
    """From the oldest to the newest."""
    backup_running: bool = False

    def of_repo(self, number: int) -> tuple[Backup, ...]:
        """The backups of a repository, from the oldest to the newest."""
        return tuple(backup for backup in self.backups if backup.repo == number)

    def backup(self, label: str, repo: int | None = None) -> Backup | None:
        """Find a backup by its label, in the repository given or in the first that has it."""
        return next((b for b in self.backups if b.label == label and repo in (None, b.repo)), None)

    def status_of(self, number: int) -> RepoStatus | None:
        """The status of a repository; None when it was not asked about."""
        return next((status for status in self.repos if status.repo == number), None)

    def database_of(self, backup: Backup) -> Database | None:
        """The PostgreSQL cluster that a backup is of."""
        return next((d for d in self.databases if (d.id, d.repo) == (backup.database, backup.repo)), None)


def parse(text: str, stanza: str = "db") -> Info:
    """Read the answer for a stanza; one that no repository knows gives an Info that is not OK.

    BadInfo when the text is not an answer at all.
    """
    try:
        found = next((entry for entry in _entries(text) if entry["name"] == stanza), None)
        if found is None:
            return Info(1, "missing stanza path")
        return _info(found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInfo(f"pgbackrest info answered what cannot be read: {text.strip()[:200]!r}") from error


def parse_backup(entry: Mapping[str, Any]) -> Backup:
    """Read one entry of the list `backup`; BadInfo when it is none."""
    try:
        return _backup(entry)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInfo(f"not an entry of pgbackrest info: {error!r}") from error


def _entries(text: str) -> list[Mapping[str, Any]]:
    entries = json.loads(text)
    if not isinstance(entries, list):
        raise TypeError("not a list of stanzas")
    return entries


def _info(entry: Mapping[str, Any]) -> Info:
    status = entry["status"]
    backups = sorted((_backup(b) for b in entry.get("backup", ())), key=lambda b: (b.stop, b.label))
    return Info(
        code=int(status["code"]),
        message=str(status["message"]),
        repos=tuple(
            RepoStatus(
                int(repo["key"]),
                int(repo["status"]["code"]),
                str(repo["status"]["message"]),
                str(repo.get("cipher", "none")),
            )
            for repo in entry.get("repo", ())
        ),
        databases=tuple(
            Database(int(d["id"]), int(d.get("repo-key", 1)), int(d["system-id"]), str(d["version"]))
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
        database=int(database["id"]),
        repo=int(database.get("repo-key", 1)),
        min=entry.get("min") or None,
        max=entry.get("max") or None,
    )


def _backup(entry: Mapping[str, Any]) -> Backup:
    sizes, lsn, wal = entry["info"], entry.get("lsn") or {}, entry.get("archive") or {}
    stored = sizes.get("repository") or {}
    error = entry.get("error")
    return Backup(
        label=str(entry["label"]),
        type=str(entry["type"]),
        repo=int(entry["database"].get("repo-key", 1)),
        database=int(entry["database"]["id"]),
        start=datetime.fromtimestamp(int(entry["timestamp"]["start"]), UTC),
        stop=datetime.fromtimestamp(int(entry["timestamp"]["stop"]), UTC),
        lsn_start=lsn.get("start"),
        lsn_stop=lsn.get("stop"),
        wal_start=wal.get("start"),
        wal_stop=wal.get("stop"),
        size=int(sizes["size"]),
        delta=int(sizes["delta"]),
        repo_size=_optional(stored.get("size")),
        repo_delta=_optional(stored.get("delta")),
        # Lists the broken pages when one backup is asked about (--set), else it is a yes or no.
        error=None if error is None else bool(error),
        prior=entry.get("prior") or None,
        annotations={str(k): str(v) for k, v in (entry.get("annotation") or {}).items()},
    )


def _optional(number: Any) -> int | None:
    return None if number is None else int(number)
