"""The parts of a plan: what was read, what the API server answered, and what follows from both."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pgoperator.kube.manifest import Key, Kind, Manifest, name_of
from reconcilers.pgcluster.state.view import Observed

Action = Literal["keep", "adopt", "change", "create", "remove", "leave"]


@dataclass(frozen=True, slots=True)
class Blocker:
    """Why the cluster cannot be taken over now: the cause, and what to do about it."""

    cause: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the API server has of a cluster, read once."""

    cluster: Manifest
    """The PerconaPGCluster."""
    objects: Mapping[Key, Manifest] = field(default_factory=dict)
    """The objects with the cluster's label, those of the inner resource, and the cluster's operations."""
    inner: Manifest | None = None
    """The inner resource of Percona's operator; None when it does not exist or may not be read."""
    inner_unread: str = ""
    """Why the inner resource could not be read; "" when it was."""
    operators: tuple[Manifest, ...] = ()
    """Pods of operators in the cluster's namespace."""

    @property
    def name(self) -> str:
        """Name of the cluster."""
        return name_of(self.cluster)

    @property
    def namespace(self) -> str:
        """Namespace of the cluster and of all its objects."""
        return str(self.cluster["metadata"]["namespace"])

    def all_of(self, *wanted: Kind) -> list[Manifest]:
        """The objects of these kinds, by kind and name."""
        names = {kind.kind for kind in wanted}
        return [manifest for key, manifest in sorted(self.objects.items()) if key.kind in names]

    def get(self, kind: Kind, name: str) -> Manifest | None:
        """One object; None without it."""
        return self.objects.get(Key(kind.kind, self.namespace, name))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the API server answers to one object that this operator would write."""

    desired: Manifest
    stored: Manifest | None
    """The object as it is; None if it would be created."""
    after: Manifest | None
    """The object as it would be; None if the API server refuses it."""
    refusal: str = ""
    """The words of the API server."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What this operator would do, from its own code and the answers of the API server."""

    observed: Observed
    outcomes: tuple[Outcome, ...] = ()
    secrets: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    """The data that each Secret of the cluster would have, by name."""
    obstacles: tuple[str, ...] = ()
    """What is wrong, or missing yet, for this operator."""
    complete: bool = False
    """Whether every object that this operator would have is among the outcomes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What becomes of one object."""

    action: Action
    kind: str
    name: str
    changes: tuple[str, ...] = ()
    """Paths of the fields that change; without the owner. Of Secrets, the keys whose value changes."""
    content: str = ""
    """Digest of what would be written; "" where it is secret or drawn at random."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole plan of one cluster."""

    namespace: str
    name: str
    uid: str
    owner: str
    """What the cluster's objects belong to now."""
    cr_version: str
    entries: tuple[Entry, ...]
    restarts: tuple[str, ...]
    """What restarts, in this order, and what clients notice."""
    differences: tuple[str, ...]
    """What will be different for the user afterwards."""
    blockers: tuple[Blocker, ...]
    complete: bool
    """Whether the entries are all; else a blocker has the cause."""
