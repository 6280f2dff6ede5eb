"""What a pass knows: `Observed` is what exists now, `View` is all that a builder may see.

Both are frozen. Nothing here reads a clock, a network or a random number: those enter in `observe` and
`credentials`, so that one View gives the same manifests every time.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from pgoperator import labels, naming
from pgoperator.api.base import CR_VERSION
from pgoperator.api.cluster import PGCluster
from pgoperator.kube.manifest import Manifest, annotations_of, is_deleting, labels_of
from pgoperator.settings import Settings
from reconcilers.pgcluster.problems import Problem

# Patroni 4 says primary, Patroni 3 said master.
PRIMARY_ROLES = ("primary", "master")


@dataclass(frozen=True, slots=True)
class Member:
    """What Patroni says of a member, in the annotation `status` of its pod."""

    state: str = ""
    role: str = ""
    timeline: int = 0
    location: int = 0
    replication_state: str = ""
    pending_restart: bool = False
    pending: tuple[tuple[str, str, str], ...] = ()
    """Parameters that wait for a restart: name, value now, value wanted. Older Patronis do not tell."""
    version: str = ""

    @classmethod
    def of(cls, pod: Manifest) -> "Member":
        """Read the annotation; a pod that Patroni has not reached yet gives an empty Member."""
        try:
            status: dict[str, Any] = json.loads(annotations_of(pod).get("status", "{}"))
            return cls(
                state=str(status.get("state", "")),
                role=str(status.get("role", "")),
                timeline=int(status.get("timeline") or 0),
                location=int(status.get("xlog_location") or 0),
                replication_state=str(status.get("replication_state", "")),
                pending_restart=bool(status.get("pending_restart")),
                pending=tuple(
                    (str(name), str(values.get("old_value")), str(values.get("new_value")))
                    for name, values in sorted((status.get("pending_restart_reason") or {}).items())
                ),
                version=str(status.get("version", "")),
            )
        except (ValueError, TypeError, AttributeError):
            return cls()

    @property
    def streams(self) -> bool:
        """Whether this replica receives WAL from its upstream right now."""
        return self.state == "streaming" or self.replication_state == "streaming"


@dataclass(frozen=True, slots=True)
class Instance:
    """One PostgreSQL instance: its StatefulSet, its pod and what Patroni says of it."""

    name: str
    set_name: str
    stateful_set: Manifest | None = None
    pod: Manifest | None = None
    member: Member = Member()

    @property
    def pod_name(self) -> str:
        """Name of the instance's one pod, which is also its name in Patroni."""
        return naming.pod(self.name)

    @property
    def is_ready(self) -> bool:
        """Whether the pod passes its readiness probe and is not on its way out."""
        return self.pod is not None and is_ready(self.pod)

    @property
    def is_primary(self) -> bool:
        """Whether Patroni has labelled the pod as the primary."""
        return self.pod is not None and labels_of(self.pod).get(labels.ROLE) in PRIMARY_ROLES


def is_ready(pod: Manifest) -> bool:
    """Whether a pod is Ready and not being deleted."""
    if is_deleting(pod):
        return False
    conditions = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


@dataclass(frozen=True, slots=True)
class Observed:
    """One snapshot of what a cluster owns, as the watches saw it last."""

    instances: tuple[Instance, ...] = ()
    volumes: tuple[Manifest, ...] = ()
    """Claims of the data."""
    wal_volumes: frozenset[str] = frozenset()
    """Names of the claims of write-ahead logs."""
    leader: Manifest | None = None
    leader_service: Manifest | None = None
    dcs: Manifest | None = None
    sync: Manifest | None = None
    repo_host: Manifest | None = None
    repo_host_pod: Manifest | None = None
    pooler_service: Manifest | None = None
    pooler_pods: tuple[Manifest, ...] = ()
    has_monitor: bool = False
    """Whether there is, or was, the role with which PMM's clients log in."""

    @property
    def primary(self) -> Instance | None:
        """The running primary: the pod that holds Patroni's lock and is labelled as the primary."""
        holder = annotations_of(self.leader).get("leader", "") if self.leader else ""
        for instance in self.instances:
            if instance.is_primary and instance.pod_name == holder and instance.pod is not None:
                return None if is_deleting(instance.pod) else instance
        return None

    @property
    def cr_version(self) -> str:
        """Version that the instances were made for; empty while there are none."""
        found = (labels_of(i.stateful_set).get(labels.VERSION) for i in self.instances if i.stateful_set)
        return next(filter(None, found), "")

    @property
    def system_identifier(self) -> str:
        """PostgreSQL's identity of the cluster, empty before it is bootstrapped."""
        return str(annotations_of(self.dcs).get("initialize", "")) if self.dcs else ""

    @property
    def dynamic_configuration(self) -> dict[str, Any] | None:
        """The configuration that Patroni follows now; None before it has written one."""
        text = annotations_of(self.dcs).get("config", "") if self.dcs else ""
        try:
            config = json.loads(text)
        except ValueError:
            return None
        return config if isinstance(config, dict) else None


@dataclass(frozen=True, slots=True)
class Planned:
    """An instance that shall exist."""

    name: str
    set_name: str


class Reference(NamedTuple):
    """A Secret or ConfigMap of the user, or one key of it."""

    kind: str
    name: str
    key: str
    """Empty for the whole of it."""


@dataclass(frozen=True, slots=True)
class Restoring:
    """A restore that decides over the instances: its name and phase, and the instance that is filled."""

    name: str
    phase: str
    instance: str
    bootstrap: bool = False
    """Whether it fills a new cluster."""


@dataclass(frozen=True)
class View:
    """All that a builder may see."""

    cluster: PGCluster
    manifest: Manifest
    """The custom resource as the user wrote it."""
    observed: Observed
    planned: tuple[Planned, ...]
    settings: Settings
    now: datetime
    secrets: Mapping[str, Mapping[str, bytes]]
    """The Secrets of the cluster by name, complete for this pass (`credentials` makes what is missing)."""
    user_secrets: Mapping[str, str]
    """The name of the Secret of each user."""
    restoring: Restoring | None = None
    unusable: tuple[Problem, ...] = ()
    """What the author brings in Secrets and what cannot be used."""
    referenced: Mapping[Reference, str] = field(default_factory=dict)
    """Digests of what the user's variables are taken from; what is missing has none."""
    missing_libraries: tuple[str, ...] | None = None
    """Libraries of extensions that the image does not have; None while nobody has asked."""
    paused: bool = False
    """Whether all pods shall stop; not before a backup that runs has ended."""

    @property
    def cr_version(self) -> str:
        """Version of the API that the cluster's pods follow, as the value of a label.

        Its author's; else the one that it has. That of a new operator would restart its pods.
        """
        version = self.cluster.spec.cr_version or self.observed.cr_version or CR_VERSION
        # A label's value has no `+` and ends as it begins.
        return version.replace("+", "_")[:63].rstrip("-_.")

    @property
    def name(self) -> str:
        """Name of the cluster."""
        return self.cluster.metadata.name

    @property
    def namespace(self) -> str:
        """Namespace of the cluster and of all it owns."""
        return self.cluster.metadata.namespace

    def metadata(
        self,
        name: str,
        own: Mapping[str, str],
        *more: Any,
        component: str | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> Manifest:
        """Metadata of an object of this cluster.

        `own` are the labels that we select by and always win; `more` are the `metadata` of components, over
        that of the cluster; `component` asks for the recommended labels ("" gives them without a component).
        """
        all_labels: dict[str, str] = {}
        all_annotations: dict[str, str] = {}
        for extra in (self.cluster.spec.metadata, *more):
            if extra is not None:
                all_labels |= labels.of_user(extra.labels)
                all_annotations |= extra.annotations or {}
        if component is not None:
            all_labels |= labels.recommended(self.name, component)
        all_labels |= labels.of_cluster(self.name) | dict(own)
        all_annotations |= annotations or {}
        metadata: Manifest = {"name": name, "namespace": self.namespace, "labels": all_labels}
        if all_annotations:
            metadata["annotations"] = all_annotations
        return metadata
