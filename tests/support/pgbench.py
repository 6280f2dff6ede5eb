"""pgbench through pgBouncer with persistent sessions; counts the clients that lose one."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.support.clients import Client
from tests.support.clusters import Cluster
from tests.support.kubectl import KubectlError, until

CLIENTS, RATE, SECONDS = 4, 100, 900
_BINARY = "/usr/lib/postgresql/*/bin/pgbench"
_ABORTED = re.compile(r"client \d+ (?:script \d+ )?aborted")
_PROGRESS = re.compile(r"^progress: [\d.]+ s, ([\d.]+) tps", re.MULTILINE)


@dataclass(frozen=True)
class Pgbench:
    """A running pgbench."""

    client: Client
    output: str

    def figures(self) -> tuple[int, int]:
        """Return the approximate number of transactions and the number of aborted clients."""
        return figures(self.said())

    def said(self) -> str:
        """Return its output."""
        return self.client.run("cat", self.output)


def figures(text: str) -> tuple[int, int]:
    """Parse pgbench's output: a progress line each second, a line for each aborted client."""
    return round(sum(map(float, _PROGRESS.findall(text)))), len(_ABORTED.findall(text))


@contextmanager
def pgbench(client: Client, cluster: Cluster, host: str = "", rate: int = RATE) -> Iterator[Pgbench]:
    """Run pgbench until the context ends; through all poolers, or through the one at the address `host`."""
    uri = cluster.credentials()["pgbouncer-uri"]
    if host:
        uri = re.sub("@[^:/]+", f"@{host}", uri)
    output = f"/tmp/pgbench-{time.monotonic_ns()}"
    fill = f'read -r uri; {_BINARY} --initialize --quiet "$uri" 2>&1'
    client.run("bash", "-c", fill, stdin=uri + "\n")
    run = f"setsid {_BINARY} --no-vacuum --client={CLIENTS} --time={SECONDS} --progress=1 --rate={rate}"
    script = f'read -r uri; {run} "$uri" >{output} 2>&1 </dev/null & echo $!'
    pid = client.run("bash", "-c", script, stdin=uri + "\n").strip()
    running = Pgbench(client, output)
    try:
        until("pgbench runs", lambda: running.figures()[0] > 0, 30, running.said, 1)
        yield running
    finally:
        with suppress(KubectlError):  # pgbench ends by itself after its time
            client.run("kill", pid)
