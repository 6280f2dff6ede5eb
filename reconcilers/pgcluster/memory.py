"""What the operator remembers of a cluster between passes.

Losing it costs a repeated look, never a wrong act.
"""

from dataclasses import dataclass, field
from datetime import datetime

from pgoperator.postgres.sql import Facts
from reconcilers.pgcluster.problems import Problem


@dataclass(slots=True)
class Memory:
    """The last look into a cluster's database, and what came of the user's SQL."""

    digest: str = ""
    """Of the script that was run."""
    primary: str = ""
    """UID of the pod in which it was run."""
    at: datetime | None = None
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
