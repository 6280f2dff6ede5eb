"""The input of a pass: `Observed` is what exists now, `View` is all that a builder may see.

Both are frozen. This module reads no clock, network or random number: `observe`, `credentials` and
`controller` provide these values, so that the same View always gives the same manifests.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from pgoperator import labels, limits, naming
from pgoperator.api.base import CR_VERSION
from pgoperator.api.cluster import PGCluster
from pgoperator.api.repositories import Repository
from pgoperator.digest import digest
from pgoperator.kube.manifest import Manifest, annotations_of, is_deleting, labels_of
from pgoperator.settings import Settings
from reconcilers.pgcluster.state.diagnostics import is_detached
from reconcilers.pgcluster.state.findings import Problem

# Patroni 4 writes "primary", Patroni 3 wrote "master".
PRIMARY_ROLES = ("primary", "master")


@dataclass(frozen=True, slots=True)
class Member:
    """A member of Patroni, as the annotation `status` of its pod describes it."""

    state: str = ""
    role: str = ""
    timeline: int = 0
    location: int = 0
    """WAL position, in bytes."""
    replication_state: str = ""
    pending_restart: bool = False
    pending: tuple[tuple[str, str, str], ...] = ()
    """Parameters that need a restart: name, old value, new value. Older Patronis do not list them."""
    version: str = ""

    @classmethod
    def of(cls, pod: Manifest) -> "Member":
        """Read the annotation; a missing or malformed annotation gives an empty Member."""
        try:
            status: dict[str, Any] = limits.loads(annotations_of(pod).get("status", "{}"))
            return cls(
                state=str(status.get("state", "")),
                role=str(status.get("role", "")),
                timeline=limits.whole(status.get("timeline")),
                location=limits.whole(status.get("xlog_location")),
                replication_state=str(status.get("replication_state", "")),
                pending_restart=bool(status.get("pending_restart")),
                pending=tuple(
                    (str(name), str(values.get("old_value")), str(values.get("new_value")))
                    for name, values in sorted((status.get("pending_restart_reason") or {}).items())
                ),
                version=str(status.get("version", "")),
            )
        except limits.MALFORMED:
            return cls()

    @property
    def streams(self) -> bool:
        """Whether this replica currently receives WAL from its upstream."""
        return self.state == "streaming" or self.replication_state == "streaming"


@dataclass(frozen=True, slots=True)
class Instance:
    """One PostgreSQL instance: its StatefulSet, its pod and its state in Patroni."""

    name: str
    set_name: str
    stateful_set: Manifest | None = None
    pod: Manifest | None = None
    member: Member = Member()

    @property
    def pod_name(self) -> str:
        """Name of the instance's pod, which is also the name of the member in Patroni."""
        return naming.pod(self.name)

    @property
    def is_ready(self) -> bool:
        """Whether the pod is Ready and not being deleted."""
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
    """One snapshot of the objects that a cluster owns, as the watches last received them."""

    instances: tuple[Instance, ...] = ()
    volumes: tuple[Manifest, ...] = ()
    """Claims of data volumes."""
    wal_volumes: frozenset[str] = frozenset()
    """Names of the claims of WAL volumes."""
    repo_volumes: Mapping[str, str] = field(default_factory=dict)
    """Name of the volume behind the claim of each repository that is on a volume."""
    leader: Manifest | None = None
    """Patroni's lock: the Endpoints `<cluster>-ha`."""
    leader_service: Manifest | None = None
    dcs: Manifest | None = None
    """Patroni's dynamic configuration: the Endpoints `<cluster>-ha-config`."""
    sync: Manifest | None = None
    """Patroni's list of synchronous members, as Endpoints."""
    repo_host: Manifest | None = None
    repo_host_pod: Manifest | None = None
    pooler_service: Manifest | None = None
    pooler_pods: tuple[Manifest, ...] = ()
    account: Manifest | None = None
    """ServiceAccount of the instances, whose token Patroni uses."""
    has_monitor: bool = False
    """Whether the Secret of the role for PMM's clients exists: the role exists or has existed."""

    @property
    def primary(self) -> Instance | None:
        """The primary: its pod holds Patroni's lock, has the primary's label and is not being deleted."""
        holder = annotations_of(self.leader).get("leader", "") if self.leader else ""
        for instance in self.instances:
            pod = instance.pod
            if instance.is_primary and instance.pod_name == holder and pod is not None:
                ends = is_deleting(pod) or is_detached(pod, self.account, self.leader)
                return None if ends else instance
        return None

    @property
    def cr_version(self) -> str:
        """The API version of the existing instances; "" when none exist."""
        versions = (labels_of(i.stateful_set).get(labels.VERSION) for i in self.instances if i.stateful_set)
        return next(filter(None, versions), "")

    @property
    def system_identifier(self) -> str:
        """PostgreSQL's system identifier in Patroni's Endpoints; "" before the cluster is bootstrapped."""
        return str(annotations_of(self.dcs).get("initialize", "")) if self.dcs else ""

    @property
    def dynamic_configuration(self) -> dict[str, Any] | None:
        """Patroni's current dynamic configuration; None before Patroni writes it, or when malformed."""
        text = annotations_of(self.dcs).get("config", "") if self.dcs else ""
        try:
            config = limits.loads(text)
        except ValueError:
            return None
        return config if isinstance(config, dict) else None

    @property
    def is_patroni_paused(self) -> bool:
        """Whether a person has paused Patroni: no automatic failover, and no restart of PostgreSQL."""
        return (self.dynamic_configuration or {}).get("pause") is True

    @property
    def configuration_digest(self) -> str:
        """Digest of Patroni's current dynamic configuration."""
        return digest(json.dumps(self.dynamic_configuration, sort_keys=True))


@dataclass(frozen=True, slots=True)
class Planned:
    """An instance that should exist."""

    name: str
    set_name: str


def with_primary(planned: tuple[Planned, ...], observed: Observed) -> tuple[Planned, ...]:
    """The plan and a primary that is not in it: as long as it leads, it needs what every instance needs.

    So when its instance set was removed from the spec.
    """
    primary = observed.primary
    if primary is None or primary.name in {one.name for one in planned}:
        return planned
    return (*planned, Planned(primary.name, primary.set_name))


class Reference(NamedTuple):
    """A Secret or ConfigMap of the user, or one of its keys."""

    kind: str
    name: str
    key: str
    """"" for the whole object."""


@dataclass(frozen=True, slots=True)
class Restoring:
    """An active restore, which decides which instances run: name, phase and the restored instance."""

    name: str
    phase: str
    instance: str
    bootstrap: bool = False
    """Whether the restore fills a new cluster."""


@dataclass(frozen=True)
class ClusterView:
    """All that a builder of a Job may see; needs the custom resource, but no plan and no Secrets."""

    cluster: PGCluster
    manifest: Manifest
    """The custom resource as the user wrote it."""
    observed: Observed
    settings: Settings
    backups_enabled: bool
    """Whether the cluster has backups; they continue until their removal is authorized."""

    @property
    def repos(self) -> tuple[Repository, ...]:
        """The repositories in use, ordered by number: none without backups."""
        if not self.backups_enabled:
            return ()
        return tuple(sorted(self.cluster.spec.backups.pgbackrest.repos, key=lambda repo: repo.number))

    @property
    def cr_version(self) -> str:
        """API version of the cluster's pods, as a label: `spec.crVersion`, else that of the instances.

        Only a new cluster gets the operator's: so a new operator restarts no pods of an existing cluster.
        """
        version = self.cluster.spec.cr_version or self.observed.cr_version or CR_VERSION
        # A label's value must not contain `+` and must end with a letter or digit.
        return version.replace("+", "_")[:63].rstrip("-_.")

    @property
    def name(self) -> str:
        """Name of the cluster."""
        return self.cluster.metadata.name

    @property
    def namespace(self) -> str:
        """Namespace of the cluster and of all its objects."""
        return self.cluster.metadata.namespace

    def metadata(
        self,
        name: str,
        own_labels: Mapping[str, str],
        *more: Any,
        component: str | None = None,
        annotations: Mapping[str, str] | None = None,
        versioned: bool = False,
    ) -> Manifest:
        """Metadata of an object of this cluster.

        `own_labels`, for selectors, always win. `more`: the `metadata` sections of components, which win over
        the cluster's. `component` adds recommended labels ("": without one), `versioned` the version.
        """
        all_labels, all_annotations = dict[str, str](), dict[str, str]()
        for extra in (self.cluster.spec.metadata, *more):
            if extra is not None:
                all_labels |= labels.of_user(extra.labels)
                all_annotations |= extra.annotations or {}
        if component is not None:
            all_labels |= labels.recommended(self.name, component)
        if versioned:
            all_labels[labels.VERSION] = self.cr_version
        all_labels |= labels.of_cluster(self.name) | dict(own_labels)
        all_annotations |= annotations or {}
        metadata: Manifest = {"name": name, "namespace": self.namespace, "labels": all_labels}
        if all_annotations:
            metadata["annotations"] = all_annotations
        return metadata


@dataclass(frozen=True)
class View(ClusterView):
    """All that a builder may see."""

    planned: tuple[Planned, ...]
    now: datetime
    secrets: Mapping[str, Mapping[str, bytes]]
    """The Secrets of the cluster by name, then by key, complete for this pass (`credentials`)."""
    user_secrets: Mapping[str, str]
    """Name of the Secret of each database user, by user."""
    restoring: Restoring | None = None
    unusable: tuple[Problem, ...] = ()
    """Problems of what the user provides and the pass replaces: Secrets, and PostgreSQL's major version."""
    referenced: Mapping[Reference, str] = field(default_factory=dict)
    """Digests of the Secrets and ConfigMaps that variables refer to; a missing object has no entry."""
    missing_libraries: tuple[str, ...] | None = None
    """Libraries of extensions that are not in the image; None until the server has been queried."""
    paused: bool = False
    """Whether all pods should stop; false until a running backup has finished."""
