"""A PostgreSQL cluster under test: its custom resource, pods, Secrets and SQL."""

import base64
import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from pgoperator import labels, naming
from tests.support.kubectl import (
    REPOSITORY,
    Kubectl,
    KubectlError,
    Manifest,
    condition,
    is_ready,
    restarts,
    until,
)
from tests.support.operators import Operator

EXAMPLE = REPOSITORY / "manifests" / "examples" / "cluster1.yaml"
KIND = "perconapgclusters"


def example(name: str = "cluster1", *, instances: int = 3, poolers: int = 3) -> Manifest:
    """Return the example's custom resource, renamed and resized."""
    text = EXAMPLE.read_text(encoding="utf-8").replace("cluster1", name)
    documents = yaml.safe_load_all(text)
    manifest: Manifest = next(d for d in documents if d and d["kind"] == "PerconaPGCluster")
    manifest["spec"]["instances"][0]["replicas"] = instances
    manifest["spec"]["proxy"]["pgBouncer"]["replicas"] = poolers
    return manifest


def transactional(name: str = "cluster1", *, instances: int = 3) -> Manifest:
    """Return the example without backups, with two poolers whose clients wait during planned changes."""
    manifest = example(name, instances=instances, poolers=2)
    manifest["spec"]["backups"] = {"enabled": False}
    manifest["spec"]["proxy"]["pgBouncer"]["config"] = {"global": {"pool_mode": "transaction"}}
    return manifest


def small(name: str, **spec: Any) -> Manifest:
    """Return a cluster of one instance, one pooler and no backups; keywords replace fields of its spec."""
    manifest = example(name, instances=1, poolers=1)
    manifest["spec"]["backups"] = {"enabled": False}
    manifest["spec"] |= copy.deepcopy(spec)
    return manifest


@dataclass
class Cluster:
    """A cluster and its manifest; `apply` and `change` send the manifest."""

    kubectl: Kubectl
    manifest: Manifest
    operator: Operator | None = None
    _last: Manifest = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return its name."""
        return str(self.manifest["metadata"]["name"])

    @property
    def selector(self) -> str:
        """Return the label selector of the cluster's objects."""
        return f"{labels.CLUSTER}={self.name}"

    def apply(self) -> None:
        """Send the manifest."""
        self.kubectl.apply(self.manifest)

    def change(self, edit: Callable[[Manifest], None]) -> None:
        """Edit the spec and send the manifest."""
        edit(self.manifest["spec"])
        self.apply()

    def cr(self) -> Manifest:
        """Return the custom resource as it is stored."""
        return self.kubectl.get(KIND, self.name)

    def condition(self, kind: str) -> Manifest:
        """Return a condition."""
        return condition(self.cr(), kind)

    def is_ready(self) -> bool:
        """Return whether the status is ready for the current generation of the spec."""
        found = self.cr()
        ready = condition(found, "Ready")
        generation = found["metadata"]["generation"]
        return bool(
            ready.get("status") == "True"
            and ready.get("observedGeneration") == generation
            and found["status"].get("observedGeneration") == generation
            and found["status"].get("state") == "ready"
        )

    def wait_ready(self, seconds: float = 240) -> None:
        """Wait until it is ready."""
        until(f"{self.name} is ready", self.is_ready, max(seconds, 180), self.explain)

    def pods(self, selector: str = "") -> list[Manifest]:
        """Return its pods by name."""
        found = self.kubectl.items("pods", ",".join(filter(None, (self.selector, selector))))
        return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))

    def instances(self) -> list[Manifest]:
        """Return the pods of the instances."""
        return self.pods(f"{labels.DATA}={labels.DATA_POSTGRES}")

    def poolers(self) -> list[Manifest]:
        """Return the pods of pgBouncer."""
        return self.pods(f"{labels.ROLE}={labels.ROLE_PGBOUNCER}")

    def primary(self) -> Manifest:
        """Return the pod that holds Patroni's lock and has its label."""
        lock = self.kubectl.get("endpoints", naming.patroni_scope(self.name))
        leader = lock["metadata"].get("annotations", {}).get("leader", "")
        found = [
            p
            for p in self.instances()
            if p["metadata"].get("labels", {}).get(labels.ROLE) == labels.ROLE_PRIMARY
        ]
        holders = [p for p in found if p["metadata"]["name"] == leader]
        assert len(holders) == 1, f"leader {leader!r}, labelled {[p['metadata']['name'] for p in found]}"
        return holders[0]

    def has_synchronous_replica(self) -> bool:
        """Return whether a replica may take over: PostgreSQL waits for it, and Patroni has recorded it.

        Patroni records a synchronous replica up to one loop after PostgreSQL reports it.
        """
        found = self.kubectl.get("endpoints", naming.patroni_sync(self.name))
        noted = found["metadata"].get("annotations", {})
        query = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"
        if noted.get("leader") != self.primary_name() or not noted.get("sync_standby"):
            return False
        return int(self.psql(query)) >= 1

    def primary_name(self) -> str:
        """Return the name of the primary's pod."""
        return str(self.primary()["metadata"]["name"])

    def replicas(self) -> list[Manifest]:
        """Return the instances that are not the primary."""
        primary = self.primary_name()
        return [p for p in self.instances() if p["metadata"]["name"] != primary]

    def restarts(self) -> dict[str, tuple[str, dict[str, int]]]:
        """Return the values that change when a pod is replaced or a container restarts."""
        return restarts([pod for pod in self.pods() if "job-name" not in pod["metadata"].get("labels", {})])

    def secret(self, name: str) -> dict[str, str]:
        """Return a Secret's data, decoded."""
        return {
            k: base64.b64decode(v).decode()
            for k, v in self.kubectl.get("secret", name).get("data", {}).items()
        }

    def credentials(self, user: str = "") -> dict[str, str]:
        """Return the Secret of a database user, by default of the user with the cluster's name."""
        return self.secret(naming.user_secret(self.name, user or self.name))

    def exec(self, pod: str, *command: str, stdin: str | None = None, seconds: float = 60) -> str:
        """Run a command in a database container."""
        return self.kubectl.exec(pod, *command, container="database", stdin=stdin, seconds=seconds)

    def psql(self, query: str, pod: str = "", database: str = "postgres") -> str:
        """Run SQL as superuser in an instance, by default the primary; rows as lines, columns split by |."""
        command = ("psql", "--no-psqlrc", "-qAt", "--set=ON_ERROR_STOP=1", "--dbname", database, "--file=-")
        return self.exec(pod or self.primary_name(), *command, stdin=query).strip()

    def patronictl(self) -> list[dict[str, Any]]:
        """Return the members as `patronictl list` reports them."""
        pod = next(p for p in self.instances() if is_ready(p))
        members: list[dict[str, Any]] = json.loads(
            self.exec(pod["metadata"]["name"], "patronictl", "list", "--format=json")
        )
        return members

    def explain(self) -> str:
        """Return the status, pods, events and logs, for the message of a failed test."""
        return "\n".join(
            _try(part)
            for part in (self._status, self._pod_table, self._events, self._logs, self._operator_log)
        )

    def _status(self) -> str:
        return f"--- status of {self.name} ---\n" + yaml.safe_dump(
            self.cr().get("status", {}), sort_keys=False
        )

    def _pod_table(self) -> str:
        return "--- pods ---\n" + self.kubectl.run(
            "get", "pods", "--output=wide", f"--selector={self.selector}"
        )

    def _events(self) -> str:
        lines = self.kubectl.run("get", "events", "--sort-by=.lastTimestamp").splitlines()
        return "--- events ---\n" + "\n".join(line for line in lines if self.name in line)[-4000:]

    def _logs(self) -> str:
        parts = []
        for pod in self.pods():
            if is_ready(pod):
                continue
            name = pod["metadata"]["name"]
            parts.append(
                f"--- log of {name} ---\n" + self.kubectl.logs(name, "--all-containers", "--tail=15")
            )
        return "\n".join(parts)

    def _operator_log(self) -> str:
        return self.operator.log() if self.operator else ""


def _try(part: Callable[[], str]) -> str:
    try:
        return part()
    except (KubectlError, AssertionError) as error:
        return f"(cannot be read: {error})"
