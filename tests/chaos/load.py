"""Start and stop appenders inside client pods and read their logs."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.chaos.history import DIRECT, Append, History, Key
from tests.support.clients import Client
from tests.support.clusters import Cluster
from tests.support.kubectl import KubectlError, until

SCRIPT = Path(__file__).with_name("appender.py")
PAUSE, SLOW = 0.03, 0.1


def pooled(cluster: Cluster, patience: float) -> list[dict[str, Any]]:
    """Return four workers through pgBouncer: two with persistent connections, two without."""
    uri = cluster.credentials()["pgbouncer-uri"]
    return [
        {"name": f"pooled-{n}", "uri": uri, "fresh": n % 2 == 1, "patience": patience, "pause": PAUSE}
        for n in range(4)
    ]


def direct(cluster: Cluster, place: str) -> list[dict[str, Any]]:
    """Return a worker for each member's address: a member that no Service routes to may confirm, too."""
    parts = urlsplit(cluster.credentials()["uri"])
    account = parts.netloc.rpartition("@")[0]
    workers = []
    for pod in cluster.instances():
        name, address = pod["metadata"]["name"], pod["status"]["podIP"]
        uri = parts._replace(netloc=f"{account}@{address}:{parts.port or 5432}").geturl()
        worker = {"name": f"{DIRECT}-{place}-{name}", "uri": uri, "fresh": False}
        workers.append(worker | {"patience": 3.0, "pause": SLOW})
    return workers


@dataclass(frozen=True)
class Appender:
    """A running appender; `attempts` stops it."""

    client: Client
    folder: str

    @classmethod
    def start(cls, client: Client, table: str, workers: Sequence[dict[str, Any]]) -> "Appender":
        """Start it detached, so that it continues while its pod is unreachable."""
        made = cls(client, f"/tmp/{table}-{time.monotonic_ns()}")
        client.run("mkdir", "-p", made.folder)
        client.write(f"{made.folder}/appender.py", SCRIPT.read_text(encoding="utf-8"))
        command = f"setsid python3 {made.folder}/appender.py {made.folder}"
        script = f'read -r order; {command} <<<"$order" >{made.folder}/out 2>&1 &'
        order = json.dumps({"table": table, "workers": list(workers)})
        client.run("bash", "-c", script, stdin=order + "\n")
        return made

    def recent(self, lines: int = 600) -> list[Append]:
        """Return the last attempts."""
        return parse(self.client.run("bash", "-c", f"tail -n {lines} {self.folder}/log"))

    def request_stop(self) -> None:
        """Request the appender to stop."""
        self.client.run("touch", f"{self.folder}/stop")

    def attempts(self) -> list[Append]:
        """Stop it and return all attempts."""
        self.request_stop()
        until(
            "the appender ends", lambda: "done" in self.client.run("ls", self.folder).split(), 60, self.said
        )
        return self.logged()

    def logged(self) -> list[Append]:
        """Return all attempts so far."""
        return parse(self.client.run("cat", f"{self.folder}/log"))

    def said(self) -> str:
        """Return its output and the end of its log."""
        return self.client.run("bash", "-c", f"tail -n 5 {self.folder}/out {self.folder}/log")


@dataclass(frozen=True)
class Load:
    """Appenders that write into one table: the first through pgBouncer."""

    cluster: Cluster
    table: str
    appenders: Sequence[Appender]

    def wait_for_writes(self, since: float, seconds: float, steady: float = 3.0) -> None:
        """Wait until appends through pgBouncer are acknowledged again without a break."""

        def check() -> bool:
            found = [a.end for a in self.appenders[0].recent() if a.pooled and a.acknowledged]
            times = sorted(end for end in found if end > max(since, time.monotonic() - steady))
            return len(times) > 10 and times[-1] - times[0] > steady / 2 and _dense(times)

        until("writes are acknowledged again", check, seconds, self.cluster.explain, 0.5)

    def history(self) -> History:
        """Stop all appenders and compare acknowledged rows with the table; the cluster must be up."""
        attempts = [a for appender in self.appenders for a in appender.attempts()]
        owner = self.cluster.name
        query = f'SELECT worker, number, count(*) FROM "{owner}".{self.table} GROUP BY 1, 2'
        present: Counter[Key] = Counter()
        for line in self.cluster.psql(query, database=owner).splitlines():
            worker, number, count = line.split("|")
            present[worker, int(number)] = int(count)
        return History(attempts, present)


@contextmanager
def load(cluster: Cluster, name: str, where: Sequence[Client], patience: float) -> Iterator[Load]:
    """Let the first client append through pgBouncer and every client append directly to each member."""
    table = f"chaos_{name}"
    uri = cluster.credentials()["pgbouncer-uri"]
    create = f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (worker text, number bigint)"
    until("the table", lambda: not where[0].sql(uri, create), 30, cluster.explain, 1)
    orders = [direct(cluster, client.pod) for client in where]
    orders[0] += pooled(cluster, patience)
    started: list[Appender] = []
    try:
        for client, order in zip(where, orders, strict=True):
            started.append(Appender.start(client, table, order))
        made = Load(cluster, table, started)
        made.wait_for_writes(time.monotonic(), 60)
        yield made
    finally:
        for appender in started:
            with suppress(KubectlError):  # it ends with its namespace at the latest
                appender.request_stop()


def parse(text: str) -> list[Append]:
    """Return the attempts of a log, whose first or last line may be incomplete."""
    found = []
    for line in text.splitlines():
        with suppress(json.JSONDecodeError):
            found.append(Append(**json.loads(line)))
    return found


def _dense(times: Sequence[float]) -> bool:
    return all(b - a < 1 for a, b in pairwise(times))
