"""What the operator remembers of a cluster between passes.

Losing it costs a repeated look, never a wrong act.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from pgoperator.api.status import RequestedJobStatus
from pgoperator.kube.backoff import Backoff
from pgoperator.postgres.sql import Facts
from reconcilers.pgcluster.problems import Problem


class Tried(NamedTuple):
    """A restart of PostgreSQL that a member has had for its parameters."""

    pending: tuple[tuple[str, str, str], ...]
    """What waited for it."""
    times: int
    until: datetime
    """Not before then again for the same."""


class Asked(NamedTuple):
    """What became of a switchover that a person asked for."""

    value: str
    """Of the annotation."""
    status: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Change:
    """What is being changed about a running cluster, for its status; found anew in each pass."""

    rolling: str = ""
    """How far new templates are; "" when every pod has its own."""
    restarting: str = ""
    """What becomes of the parameters that wait for a restart."""
    carried_out: str | None = None
    """Value of the annotation whose switchover is done with."""
    timeline: int | None = None
    """The one on which a switchover that is under way began."""
    asked: Asked | None = None


NO_CHANGE = Change()
REFUSED_FIRST, REFUSED_CAP = 2.0, 600.0  # seconds


@dataclass(slots=True)
class Memory:
    """The last look into a cluster's database, and what came of the user's SQL."""

    digest: str = ""
    """Of the script that was run."""
    primary: str = ""
    """UID of the pod in which it was run."""
    at: datetime | None = None
    """When it was run last."""
    due: datetime | None = None
    """When it is run again at the latest, to mend what somebody has changed in the database."""
    configuration: str = ""
    """Digest of the dynamic configuration that PostgreSQL was last seen with."""
    facts: Facts | None = None
    looks: int = 0
    """Looks in a row that found a replica not following yet."""
    following: set[str] = field(default_factory=set)
    """UIDs of the pods of replicas that follow (`followers`)."""
    heard: set[str] = field(default_factory=set)
    """UIDs of the pods that Patroni last said stream."""
    goals: dict[str, int] = field(default_factory=dict)
    """By UID: the position that a replica has to reach before it follows."""
    secrets: frozenset[str] = frozenset()
    """Names of the author's Secrets that the cluster reads."""
    poolers: dict[tuple[str, int], str] = field(default_factory=dict)
    """Whether a pod of pgBouncer (uid, restarts) holds queries back: paused or running."""
    init_sql: str = ""
    """Name of the ConfigMap whose SQL has been run."""
    init_error: str = ""
    """What PostgreSQL said of it last."""
    init_problem: Problem | None = None
    retry_at: dict[str, datetime] = field(default_factory=dict)
    """By act: not before then again."""
    refusals: Backoff = field(default_factory=lambda: Backoff(REFUSED_FIRST, REFUSED_CAP))
    """Pauses until objects that the API server refuses are tried again."""
    requested: RequestedJobStatus | None = None
    """The restore that was asked for last, for the status."""
    change: Change = NO_CHANGE
    tried: dict[str, Tried] = field(default_factory=dict)
    """By UID of a pod."""
    asked: Asked | None = None
    """The last switchover on request that was tried."""
    former: str = ""
    """Name of the primary when the status noted the timeline of the one that began last."""
    attempts: int = 0
    """How often the present one was tried in vain."""
    held_up: str = ""
    """Why the primary could not be changed or restarted when that was last tried."""
