"""One cluster, its clients, and the check after each step."""

import os
import shlex
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.bench.place import Place
from tests.bench.table import emit
from tests.chaos.history import Append, Key
from tests.chaos.load import Appender
from tests.lives import claims, strangers
from tests.lives.model import Model, Moment, Noted, Seen, missing_on
from tests.support.backups import BACKUPS, first_backup, in_repository
from tests.support.clients import Client
from tests.support.clusters import Cluster, example
from tests.support.kubectl import KubectlError, until

PATIENCE = 15.0
PAUSE = 0.15
TABLE = "life"
_INSERT = (
    f"INSERT INTO {TABLE} VALUES ('probe', %d)"
    " RETURNING host(inet_server_addr()), left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)"
)
_TIMELINE = "SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)"
_BUSY, _SLOWEST = 8.0, 4.0
Judge = Callable[[Seen], list[str]]


class Broken(AssertionError):  # noqa: N818 - the name states the fact
    """The cluster is not what it must be after a step."""


def slowness() -> float:
    """Return how much longer things may take: 1, or up to 4 if too many processes want the processors."""
    return min(_SLOWEST, max(1.0, os.getloadavg()[0] / _BUSY / (os.cpu_count() or 1)))


@dataclass
class Life:
    """A cluster that is written to all the time."""

    place: Place
    cluster: Cluster
    model: Model = field(default_factory=Model)
    clients: list[Client] = field(default_factory=list)
    appenders: list[Appender] = field(default_factory=list)
    probes: list[Append] = field(default_factory=list)
    noted: list[Noted] = field(default_factory=list)
    """Moments that the next check makes targets of restores."""
    numbers: Counter[str] = field(default_factory=Counter)
    story: list[str] = field(default_factory=list)
    uri: str = ""

    @classmethod
    def begin(cls, place: Place, seed: int) -> "Life":
        """Create a cluster of two or three instances with a backup, and let two clients write."""
        dice = Random(f"{seed}-begin")
        manifest = example(f"life{seed}", instances=dice.choice((2, 3)), poolers=1)
        spec = manifest["spec"]
        spec["proxy"]["pgBouncer"]["config"] = {"global": {"pool_mode": "transaction"}}
        spec["backups"]["pgbackrest"]["global"] = {"repo1-retention-full": "99", "compress-type": "lz4"}
        life = cls(place, Cluster(place.kubectl, manifest, place.operator))
        strangers.plant(life.cluster)
        life.cluster.apply()
        life.clients = [place.client(node) for node in place.nodes[:2]]
        life.cluster.wait_ready(240 * slowness())
        first_backup(life.cluster, 180 * slowness())
        life.cluster.wait_ready(240 * slowness())
        create = f"CREATE TABLE {TABLE} (worker text, number bigint)"
        life.clients[0].sql(life.credentials(), create)
        life.resume_clients()
        life.settle(None, 180)
        life.judge(life.model.check)
        return life

    @property
    def size(self) -> int:
        """Return how many instances the spec has."""
        return int(self.cluster.manifest["spec"]["instances"][0]["replicas"])

    @property
    def moments(self) -> list[Moment]:
        """Return the targets of restores."""
        return self.model.moments

    def wait(self, what: str, check: Callable[[], Any], seconds: float) -> None:
        """Wait until `check` returns a true value; longer on an overloaded machine."""
        until(what, check, seconds * slowness(), self.cluster.explain)

    def detail(self, what: str) -> None:
        """Add a detail of the present step to the story of this life."""
        self.story.append(f"      {what}")
        emit(self.story[-1])

    def number(self, what: str) -> int:
        """Return the next number of a kind."""
        self.numbers[what] += 1
        return self.numbers[what]

    # --- clients ---

    def credentials(self) -> str:
        """Return the URI of the pooler."""
        return self.cluster.credentials()["pgbouncer-uri"]

    def resume_clients(self) -> None:
        """Start appenders, with a new password if there is one."""
        if (uri := self.credentials()) == self.uri:
            return
        for appender in self.appenders[-len(self.clients) :]:
            appender.request_stop()
        self.uri = uri
        for number, client in enumerate(self.clients):
            name = f"a{len(self.appenders)}"
            worker = {"name": name, "uri": uri, "fresh": number == 1, "patience": PATIENCE, "pause": PAUSE}
            self.appenders.append(Appender.start(client, TABLE, [worker]))

    def errors_since(self, moment: float) -> int:
        """Return how many attempts of the appenders were not confirmed since then."""
        found = [a for appender in self.appenders for a in appender.logged()]
        return sum(not a.acknowledged and a.end > moment for a in found)

    def leave(self) -> None:
        """Stop the clients."""
        for appender in self.appenders:
            with suppress(KubectlError):  # it ends with its namespace at the latest
                appender.request_stop()

    def write(self, seconds: float) -> str:
        """Write a row with a client of its own until that succeeds; return the last error after the time."""
        deadline = time.monotonic() + seconds
        while (error := self._write(deadline - time.monotonic())) and time.monotonic() < deadline - 1:
            time.sleep(0.5)
        return error

    def _write(self, seconds: float) -> str:
        number, start = self.number("probe"), time.monotonic()
        script = (
            f"read -r uri; export PGCONNECT_TIMEOUT=5; timeout {max(seconds, 1):.0f}"
            f' psql --no-psqlrc -qAt -v ON_ERROR_STOP=1 -d "$uri" -c {shlex.quote(_INSERT % number)} 2>&1'
        )
        error, server, timeline = "", "", 0
        try:
            client = self.clients[number % len(self.clients)]
            answer = client.run("bash", "-c", script, stdin=f"{self.credentials()}\n", seconds=seconds + 30)
            server, _, text = answer.strip().partition("|")
            timeline = int(text, 16)
        except (KubectlError, ValueError) as failed:
            error = " ".join(str(failed).split())[-200:] or "timed out"
        self.probes.append(Append("probe", number, start, time.monotonic(), error, server, timeline))
        return error

    # --- the check after a step ---

    def settle(self, struck: float | None, seconds: float) -> None:
        """Wait until the cluster is Ready and written to. Raises Broken when the status was not true."""
        found: list[claims.Claim] = []
        slow = slowness()
        deadline = time.monotonic() + seconds * slow
        while not found or found[-1].error:
            if self.is_ready():
                claim = time.monotonic()
                found.append(claims.Claim(claim, self.write(claims.WRITE_SECONDS * slow)))
            if wrong := claims.lies(found, struck, slow):
                raise Broken("; ".join(wrong))
            if time.monotonic() > deadline:
                last = found[-1].error if found else self.cluster.condition("Ready")
                raise Broken(f"not Ready and written to within {seconds * slow:.0f} s: {last}")
            time.sleep(0.5)
        self.resume_clients()

    def is_ready(self) -> bool:
        """Return whether the status is ready for the current spec."""
        try:
            return self.cluster.is_ready()
        except (KubectlError, KeyError):
            return False

    def note(self) -> None:
        """Note this moment as the target of a later restore."""
        before = time.monotonic()
        at, position = self.cluster.psql("SELECT clock_timestamp(), pg_current_wal_insert_lsn()").split("|")
        kinds = {"time": f'--target="{at}"', "lsn": f"--target={position}"}
        kind = "lsn" if self.number("moment") % 3 == 0 else "time"
        self.noted.append(Noted((f"--type={kind}", kinds[kind]), before, time.monotonic()))

    def judge(self, judge: Judge) -> None:
        """Compare the table, the replicas and the status with the model. Raises Broken."""
        self.wait("all replicas stream", self._streams, 60)
        self.note()
        former = self.model.kept
        seen = self.look()
        found = judge(seen)
        for noted in self.noted:
            self.model.note(noted, seen, former)
        self.noted.clear()
        position = self.cluster.psql("SELECT pg_current_wal_flush_lsn()")
        for pod in self.cluster.replicas():
            name = pod["metadata"]["name"]
            self._wait_for_replay(name, position)
            if missing := missing_on(self._rows(name), seen.present):
                found.append(f"{name}: {missing}")
        self.wait("the summary of the status agrees", self._agrees, 60)
        found += claims.false_backups(
            self.cluster.kubectl.items(BACKUPS, self.cluster.selector), in_repository(self.cluster)
        )
        if found:
            raise Broken("\n".join(found))

    def look(self) -> Seen:
        """Read the table, then the logs of the clients."""
        before = time.monotonic()
        primary = self.cluster.primary_name()
        present = self._rows(primary)
        timeline = int(self.cluster.psql(_TIMELINE, primary), 16)
        appends = [a for appender in self.appenders for a in appender.logged()]
        return Seen(before, present, timeline, [*appends, *self.probes])

    def _rows(self, pod: str) -> dict[Key, int]:
        name = self.cluster.name
        query = f'SELECT worker, number, count(*) FROM "{name}".{TABLE} GROUP BY 1, 2'
        lines = [line.split("|") for line in self.cluster.psql(query, pod, name).splitlines()]
        return {(worker, int(number)): int(count) for worker, number, count in lines}

    def _wait_for_replay(self, pod: str, position: str) -> None:
        query = f"SELECT pg_last_wal_replay_lsn() >= '{position}'"
        self.wait(f"{pod} replays {position}", lambda: self.cluster.psql(query, pod) == "t", 60)

    def _streams(self) -> bool:
        query = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'"
        names = {pod["metadata"]["name"] for pod in self.cluster.replicas()}
        return len(names) == self.size - 1 and names <= set(self.cluster.psql(query).split())

    def _agrees(self) -> bool:
        found = claims.contradictions(self.cluster.cr())
        assert not found, found
        return True

    # --- pods ---

    def instance_names(self) -> list[str]:
        """Return the pods of the instances."""
        return [pod["metadata"]["name"] for pod in self.cluster.instances()]

    def probe_kills(self) -> dict[str, int]:
        """Return how often the liveness probe of each pod has killed a container."""
        return claims.probe_kills(self.cluster.kubectl.items("events"))

    def killed_since(self, kills: dict[str, int]) -> list[str]:
        """Return the pods of which liveness probes have killed containers since then."""
        return sorted(pod for pod, count in self.probe_kills().items() if count != kills.get(pod))

    def starts(self) -> dict[str, str]:
        """Return when PostgreSQL has started in each instance."""
        query = "SELECT pg_postmaster_start_time()"
        return {name: self.cluster.psql(query, name) for name in self.instance_names()}

    def shows(self, parameter: str, value: str) -> bool:
        """Return whether a parameter has a value in all instances."""
        return all(self.cluster.psql(f"SHOW {parameter}", name) == value for name in self.instance_names())
