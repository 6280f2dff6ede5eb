"""What the operator keeps in memory about a cluster between two passes, with a section for each action.

Losing the cache costs a repeated query, never a wrong action. State that must survive a restart of the
operator is in the status of the custom resource.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from pgoperator.api.status import RequestedJobStatus
from pgoperator.kube.backoff import Backoff
from pgoperator.postgres.sql_report import ServerReport
from reconcilers.pgcluster.state.findings import Finding, Problem

REFUSED_FIRST, REFUSED_CAP = 2.0, 600.0  # seconds


class Settling(NamedTuple):
    """A changed dynamic configuration that Patroni is bringing to PostgreSQL."""

    digest: str
    until: datetime
    """PostgreSQL is not queried about the configuration before this time."""


@dataclass(slots=True)
class SqlCache:
    """The last SQL session in a cluster's database (`database.act_sql`)."""

    digest: str = ""
    """Digest of the script that ran last."""
    primary: str = ""
    """UID of the pod in which the script ran."""
    at: datetime | None = None
    """When the complete script last ran."""
    due: datetime | None = None
    """Latest time of the next run, which repairs drift."""
    configuration: str = ""
    """Digest of the dynamic configuration at the last query."""
    altered: str = ""
    """Checksum of the server's altered settings when the complete script last ran."""
    settling: Settling | None = None
    facts: ServerReport | None = None
    looks: int = 0
    """Number of consecutive queries that found a replica which does not follow yet."""


@dataclass(slots=True)
class ReplicationCache:
    """Which replicas follow the primary (`state.replication`); all keys are UIDs of pods."""

    following: set[str] = field(default_factory=set)
    streaming: set[str] = field(default_factory=set)
    """Pods that streamed when Patroni last reported."""
    goals: dict[str, int] = field(default_factory=dict)
    """The WAL position (bytes) that a replica must replay before it counts as following."""


@dataclass(slots=True)
class InitSqlCache:
    """Result of the user's SQL for a new cluster (`database.act_init_sql`)."""

    done: str = ""
    """Name of the ConfigMap whose SQL has succeeded."""
    tried: str = ""
    """Digest of the SQL text that was started last."""
    retry_at: datetime | None = None
    """The same text is not started, and its result not requested, before this time."""
    error: str = ""
    """PostgreSQL's error message of its last run; "" while the result is unknown."""
    problem: Problem | None = None


class RestartAttempt(NamedTuple):
    """A restart of PostgreSQL in a member for its pending parameters."""

    pending: tuple[tuple[str, str, str], ...]
    """The parameters that were pending before the restart: name, old value, new value."""
    times: int
    """How often PostgreSQL was restarted for these parameters."""
    until: datetime
    """The same parameters cause no further restart before this time."""


class Trial(NamedTuple):
    """A start of another server with changed parameters (`patroni.act_trial`)."""

    pod: str
    """UID of the pod."""
    parameters: Mapping[str, Any]
    """Name -> value of all parameters that Patroni gets."""
    refusal: str
    """Why it did not start; "" when it did."""


class PendingCheck(NamedTuple):
    """When every Patroni is asked to compute its pending parameters again (`rollout.act_pending_check`)."""

    digest: str
    """Digest of the dynamic configuration."""
    due: datetime | None
    """None: the members have been asked about this configuration."""


class SwitchoverOutcome(NamedTuple):
    """Result of a switchover that the user requested; becomes the condition `Switchover`."""

    value: str
    """Value of the annotation."""
    status: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Change:
    """Changes of a running cluster that are in progress, for its status; computed again in each pass."""

    rolling: str = ""
    """Progress of the rolling update; "" when every pod has the current template."""
    restarting: str = ""
    """Progress of restarts for pending parameters."""
    carried_out: str | None = None
    """Value of the annotation whose switchover is final."""
    timeline: int | None = None
    """Timeline of the primary before the switchover that is in progress."""
    switchover: SwitchoverOutcome | None = None


NO_CHANGE = Change()


@dataclass(slots=True)
class ChangeCache:
    """Rolling updates, restarts and switchovers (`rollout.act_changes`)."""

    change: Change = NO_CHANGE
    restarts: dict[str, RestartAttempt] = field(default_factory=dict)
    """Key: UID of the pod."""
    restart_after: datetime | None = None
    """No restart before this time: members may still report pending parameters."""
    pending_check: PendingCheck | None = None
    """None until the first pass."""
    primary_after: datetime | None = None
    """No switchover or restart before this time: the last attempt failed."""
    primary_error: str = ""
    """Why that attempt failed."""
    switchover: SwitchoverOutcome | None = None
    """The last requested switchover that became final."""
    switchover_after: datetime | None = None
    """The requested switchover is not retried before this time."""
    switchover_error: str = ""
    """Why its last attempt failed."""
    attempts: int = 0
    """Failed attempts of the current switchover."""
    former: str = ""
    """Name of the primary when the status recorded the timeline of the last switchover."""
    departed: str = ""
    """UID of the last primary's pod that was being deleted, for which a switchover was tried."""


@dataclass(slots=True)
class DrillCache:
    """Restore drills (`drill.act_drill`)."""

    starts: bool = False
    """Whether the Job of a drill was created, and is not in the store yet."""
    blocked: str = ""
    """Why the API server refused the last attempt to create it, or why its pod does not start."""


@dataclass(frozen=True, slots=True)
class ImportCache:
    """The last import of backups (`imports.act_import`)."""

    handled: str = ""
    """Value of the annotation whose import is complete."""
    finding: Finding | None = None
    """The condition of the last import."""


NO_IMPORT = ImportCache()


@dataclass(slots=True)
class ClusterCache:
    """The whole cache of one cluster."""

    sql: SqlCache = field(default_factory=SqlCache)
    replication: ReplicationCache = field(default_factory=ReplicationCache)
    init_sql: InitSqlCache = field(default_factory=InitSqlCache)
    changes: ChangeCache = field(default_factory=ChangeCache)
    secrets: frozenset[str] = frozenset()
    """Names of the user's Secrets that the cluster reads."""
    poolers: dict[tuple[str, int], str] = field(default_factory=dict)
    """State of each pgBouncer pod, paused or running; the key is its UID and number of restarts."""
    catch_up_until: datetime | None = None
    """Scaling down waits for replicas to catch up, at most until this time."""
    refusals: Backoff = field(default_factory=lambda: Backoff(REFUSED_FIRST, REFUSED_CAP))
    """Delay until objects that the API server refused are retried."""
    backups_refused: tuple[Problem, ...] = ()
    """Why the API server refused the last attempt to create the stanza or a backup."""
    requested: RequestedJobStatus | None = None
    """The last requested restore, for the status."""
    drill: DrillCache = field(default_factory=DrillCache)
    trial: Trial | None = None
    """The last trial of changed parameters."""
    imports: ImportCache = NO_IMPORT
    templates_written: bool = False
    """Whether this pass wrote StatefulSets of instances, so that the view is outdated."""
