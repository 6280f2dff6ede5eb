"""The API server's audit log: the requests since a mark."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

WRITES = ("create", "update", "patch", "delete", "deletecollection")


@dataclass(frozen=True)
class Entry:
    """A finished request."""

    at: float
    user: str
    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int

    @property
    def what(self) -> str:
        """Return verb and resource, as in "create pods/exec"."""
        return f"{self.verb} {self.resource}{'/' + self.subresource if self.subresource else ''}"

    @property
    def is_write(self) -> bool:
        """Return whether the request changed an object; leases do not count, access reviews change none."""
        reviews = ("leases", "selfsubjectaccessreviews", "subjectaccessreviews", "tokenreviews")
        return self.verb in WRITES and self.resource not in reviews


@dataclass
class AuditLog:
    """The entries that were logged after this object was created."""

    path: Path

    def __post_init__(self) -> None:
        found = self.path.stat()
        self._inode, self._offset = found.st_ino, found.st_size

    def entries(self, user: str = "") -> list[Entry]:
        """Return the requests since then, oldest first; of one user, if given."""
        found = [entry for entry in map(_entry, self._lines(user)) if entry]
        return sorted(found, key=lambda entry: entry.at)

    def _lines(self, user: str) -> Iterator[str]:
        rotated = sorted(self.path.parent.glob(f"{self.path.stem}-*{self.path.suffix}"))
        started = False
        for file in [*rotated, self.path]:
            with file.open(encoding="utf-8") as stream:
                if not started:
                    if file.stat().st_ino != self._inode:
                        continue
                    started = True
                    stream.seek(self._offset)
                for line in stream:
                    if line.endswith("\n") and user in line:
                        yield line


def _entry(line: str) -> Entry | None:
    found: dict[str, Any] = json.loads(line)
    if found["stage"] not in ("ResponseComplete", "Panic"):
        # A watch is counted when it starts; its end, logged as ResponseComplete, adds nothing.
        if not (found["stage"] == "ResponseStarted" and found["verb"] == "watch"):
            return None
    elif found["verb"] == "watch":
        return None
    what = found.get("objectRef") or {}
    return Entry(
        at=datetime.fromisoformat(found["requestReceivedTimestamp"]).timestamp(),
        user=found["user"]["username"],
        verb=found["verb"],
        resource=what.get("resource", found["requestURI"].partition("?")[0]),
        subresource=what.get("subresource", ""),
        namespace=what.get("namespace", ""),
        name=what.get("name", ""),
        code=(found.get("responseStatus") or {}).get("code", 0),
    )


def by_verb(entries: list[Entry]) -> str:
    """Return "42: 30 patch, 12 get"."""
    counts = Counter(entry.verb for entry in entries)
    return f"{len(entries)}: " + ", ".join(f"{n} {verb}" for verb, n in counts.most_common())


def by_what(entries: list[Entry]) -> str:
    """Return the counts by verb and resource, one on each line."""
    counts = Counter(entry.what for entry in entries)
    return "\n".join(f"  {n:5} {what}" for what, n in counts.most_common())
