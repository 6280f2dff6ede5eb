"""Programs with real drivers of a language, in the network of a node, where an application's pod would be.

The program of a language is tests/drivers/<language>; it runs until it is closed and answers one request
after the other (tests/drivers/python/driver.py has the format). Its resolver is that of a pod.
"""

import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from local import drivers, network

PSQL = "psql, libpq 17"
"""psql of the image, in a pod."""
LANGUAGE = {
    "psycopg 3": "python",
    "psycopg 2": "python",
    "asyncpg": "python",
    "SQLAlchemy": "python",
    "Django": "python",
    "pgjdbc": "java",
    "node-postgres": "node",
    "pgx": "go",
    "sqlx": "rust",
}


class DriverError(Exception):
    """A driver refused; the message is its own."""


@dataclass(frozen=True)
class Loaded:
    """The result of a load: confirmed rows, transactions run again, those that failed, the longest stall."""

    rows: int
    retries: int
    errors: int
    stall: float
    message: str

    def __str__(self) -> str:
        text = f"{self.rows} rows, {self.retries} retries, {self.errors} errors, stall {self.stall:.2f} s"
        return f"{text} {self.message}".strip()


class Program:
    """The running program of a language; use it as a context manager."""

    def __init__(self, language: str, node: str, namespace: str, folder: Path) -> None:
        """Build it, and start it on a node with the search path of a pod in the namespace."""
        resolver = folder / f"{language}.resolv"
        search = f"{namespace}.svc.cluster.local svc.cluster.local cluster.local"
        resolver.write_text(f"nameserver {network.GATEWAY}\nsearch {search}\noptions ndots:5\n")
        inner = f"mount --bind {shlex.quote(str(resolver))} /etc/resolv.conf && exec " + shlex.join(
            ["nsenter", f"--net=/run/netns/{network.namespace(node)}", *drivers.ensure(language)]
        )
        self.log = folder / f"{language}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", inner],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def ask(self, *words: str) -> str:
        """Send a request and return the answer; DriverError with the driver's message."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\t".join(words) + "\n")
        self.process.stdin.flush()
        result, _, text = self.process.stdout.readline().rstrip("\n").partition("\t")
        if result == "ok":
            return text
        raise DriverError(text or f"{self.process.args!r} ended: {self.log.read_text()}")

    def stop(self, load: str) -> Loaded:
        """End a load and return its result."""
        rows, retries, errors, stall, *message = self.ask("stop", load).split(" ", 4)
        return Loaded(int(rows), int(retries), int(errors), float(stall), " ".join(message))
