"""Runs inside a client pod: insert numbered rows, each over a new connection, and log each result.

Usage: writer.py FOLDER TABLE [SECONDS]; the URI comes by standard input. FOLDER/log gets a line for each
attempt: number, start, end (monotonic seconds), "ok" or the error. The file FOLDER/stop ends the writer,
which then creates FOLDER/done. An attempt times out after 3 s, or after SECONDS.
"""

import select
import sys
import time
from pathlib import Path

import psycopg2
import psycopg2.extensions

PATIENCE = float(sys.argv[3]) if len(sys.argv) > 3 else 3.0
PAUSE = 0.03


def wait(connection: "psycopg2.extensions.connection", deadline: float) -> None:
    """Poll an asynchronous connection until its operation is complete."""
    while True:
        state = connection.poll()
        if state == psycopg2.extensions.POLL_OK:
            return
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"timed out after {PATIENCE:g} s")
        descriptor = connection.fileno()
        reads = [descriptor] if state == psycopg2.extensions.POLL_READ else []
        writes = [descriptor] if state == psycopg2.extensions.POLL_WRITE else []
        select.select(reads, writes, [], left)


def execute(uri: str, query: str, values: tuple[object, ...] = ()) -> None:
    """Run one statement on a connection of its own; it is committed when this returns."""
    deadline = time.monotonic() + PATIENCE
    connection = psycopg2.connect(uri, async_=True)
    try:
        wait(connection, deadline)
        cursor = connection.cursor()
        cursor.execute(query, values)
        wait(connection, deadline)
    finally:
        connection.close()


def main() -> None:
    """Write until the stop file exists."""
    folder, table = Path(sys.argv[1]), sys.argv[2]
    uri = sys.stdin.readline().strip()
    with (folder / "log").open("w", buffering=1) as log:
        number = 0
        while not (folder / "stop").exists():
            number += 1
            begin = time.monotonic()
            try:
                execute(uri, f"INSERT INTO {table} (n) VALUES (%s)", (number,))
                result = "ok"
            except (psycopg2.Error, TimeoutError, OSError) as error:
                result = " ".join(str(error).split()) or type(error).__name__
            log.write(f"{number} {begin:.6f} {time.monotonic():.6f} {result}\n")
            time.sleep(PAUSE)
    (folder / "done").touch()


main()
