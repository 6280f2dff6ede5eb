"""Runs inside a client pod: append unique rows by several workers, and log each result.

Usage: appender.py FOLDER; by standard input comes {"table", "workers": [{"name", "uri", "fresh", "patience",
"pause"}]}. FOLDER/log gets a line of JSON for each attempt: worker, number, start and end in monotonic
seconds, error, and, if acknowledged, the server's address and its timeline at the insert. The file
FOLDER/stop ends the appender, which then creates FOLDER/done. A worker never tries a number twice.
"""

import json
import select
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

import psycopg2
import psycopg2.extensions

FOLDER = Path(sys.argv[1])
LOCK = threading.Lock()
QUERY = (
    "INSERT INTO {} (worker, number) VALUES (%s, %s)"
    " RETURNING host(inet_server_addr()), left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)"
)


def wait(connection: "psycopg2.extensions.connection", deadline: float) -> None:
    """Poll an asynchronous connection until its operation is complete."""
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        reads = state == psycopg2.extensions.POLL_READ
        descriptor = [connection.fileno()]
        select.select(descriptor if reads else [], [] if reads else descriptor, [], left)


class Worker:
    """One client, with a new connection for each append or with one persistent connection."""

    def __init__(self, settings: dict[str, Any], table: str) -> None:
        """Take the settings of the worker."""
        self.settings, self.query = settings, QUERY.format(table)
        self.connection: psycopg2.extensions.connection | None = None

    def append(self, number: int) -> dict[str, Any]:
        """Try to append a number."""
        start = time.monotonic()
        result: dict[str, Any] = {
            "worker": self.settings["name"],
            "number": number,
            "start": start,
            "error": "",
        }
        try:
            result["server"], result["timeline"] = self._execute(number, start + self.settings["patience"])
        except (psycopg2.Error, TimeoutError, OSError) as error:
            result["error"] = " ".join(str(error).split()) or type(error).__name__
        result["end"] = time.monotonic()
        if self.connection is not None and (result["error"] or self.settings["fresh"]):
            self.connection.close()
            self.connection = None
        return result

    def _execute(self, number: int, deadline: float) -> tuple[str, int]:
        if self.connection is None:
            self.connection = psycopg2.connect(self.settings["uri"], async_=True)
            wait(self.connection, deadline)
        cursor = self.connection.cursor()
        cursor.execute(self.query, (self.settings["name"], number))
        wait(self.connection, deadline)
        server, timeline = cursor.fetchone() or ("", "0")
        return server, int(timeline, 16)

    def run(self, log: TextIO) -> None:
        """Append until the stop file exists."""
        number = 0
        while not (FOLDER / "stop").exists():
            number += 1
            line = json.dumps(self.append(number)) + "\n"
            with LOCK:
                log.write(line)
            time.sleep(self.settings["pause"])


def main() -> None:
    """Run all workers."""
    order = json.loads(sys.stdin.readline())
    with (FOLDER / "log").open("w", buffering=1) as log:
        workers = [Worker(settings, order["table"]) for settings in order["workers"]]
        threads = [threading.Thread(target=worker.run, args=(log,)) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (FOLDER / "done").touch()


main()
