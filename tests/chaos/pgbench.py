"""pgbench through pgBouncer, with sessions that it keeps; whoever loses one is counted."""

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
        """Return how many transactions it did, about, and how many clients gave up over a failed one."""
        return figures(self.said())

    def said(self) -> str:
        """Return what it printed."""
        return self.client.run("cat", self.output)


def figures(text: str) -> tuple[int, int]:
    """Read pgbench's output: a line of progress each second, a line for each client that gave up."""
    return round(sum(map(float, _PROGRESS.findall(text)))), len(_ABORTED.findall(text))


@contextmanager
def pgbench(client: Client, cluster: Cluster) -> Iterator[Pgbench]:
    """Run it for as long as the context lasts."""
    uri = cluster.credentials()["pgbouncer-uri"]
    output = f"/tmp/pgbench-{time.monotonic_ns()}"
    fill = f'read -r uri; {_BINARY} --initialize --quiet "$uri" 2>&1'
    client.run("bash", "-c", fill, stdin=uri + "\n")
    run = f"setsid {_BINARY} --no-vacuum --client={CLIENTS} --time={SECONDS} --progress=1 --rate={RATE}"
    script = f'read -r uri; {run} "$uri" >{output} 2>&1 </dev/null & echo $!'
    pid = client.run("bash", "-c", script, stdin=uri + "\n").strip()
    running = Pgbench(client, output)
    try:
        until("pgbench runs", lambda: running.figures()[0] > 0, 30, running.said, 1)
        yield running
    finally:
        with suppress(KubectlError):  # it ends by itself when its time is over
            client.run("kill", pid)
