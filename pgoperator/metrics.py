"""Every metric of the process.

Names and labels of controller-runtime, workqueue and rest_client are those of Go operators, so existing
dashboards work; `pgoperator_…` are specific to this operator.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pgoperator import __version__

REGISTRY = CollectorRegistry(auto_describe=False)
ProcessCollector(registry=REGISTRY)

RESULTS = ("success", "error", "requeue", "requeue_after")
_PASS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_QUEUE_BUCKETS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1, 10, 100, 1000)
_REQUEST_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
_QUEUE = ("name", "controller")


def _counter(name: str, text: str, labels: tuple[str, ...]) -> Counter:
    return Counter(name, text, labels, registry=REGISTRY)


def _gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
    return Gauge(name, text, labels, registry=REGISTRY)


def _of_cluster(name: str, text: str, *more: str) -> Gauge:
    return _gauge(name, text, ("namespace", "cluster", *more))


def _histogram(name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
    return Histogram(name, text, labels, buckets=buckets, registry=REGISTRY)


RECONCILES = _counter("controller_runtime_reconcile", "Reconciliations by result", ("controller", "result"))
RECONCILE_ERRORS = _counter("controller_runtime_reconcile_errors", "Failed reconciliations", ("controller",))
TERMINAL_ERRORS = _counter(
    "controller_runtime_terminal_reconcile_errors",
    "Failed reconciliations that are not retried",
    ("controller",),
)
RECONCILE_PANICS = _counter(
    "controller_runtime_reconcile_panics", "Reconciliations that ended with an unexpected exception",
    ("controller",),
)  # fmt: skip
RECONCILE_TIMEOUTS = _counter(
    "controller_runtime_reconcile_timeouts", "Reconciliations cancelled at their timeout", ("controller",)
)
RECONCILE_SECONDS = _histogram(
    "controller_runtime_reconcile_time_seconds",
    "Duration of a reconciliation",
    ("controller",),
    _PASS_BUCKETS,
)
ACTIVE_WORKERS = _gauge("controller_runtime_active_workers", "Running reconciliations", ("controller",))
MAX_WORKERS = _gauge(
    "controller_runtime_max_concurrent_reconciles",
    "Maximum number of concurrent reconciliations",
    ("controller",),
)

QUEUE_ADDS = _counter("workqueue_adds", "Keys that became due", _QUEUE)
QUEUE_RETRIES = _counter("workqueue_retries", "Keys put back after a failure", _QUEUE)
QUEUE_SECONDS = _histogram(
    "workqueue_queue_duration_seconds", "Time that a due key waits for a worker", _QUEUE, _QUEUE_BUCKETS
)
WORK_SECONDS = _histogram(
    "workqueue_work_duration_seconds", "Time that a worker processes a key", _QUEUE, _QUEUE_BUCKETS
)

REQUESTS = _counter("rest_client_requests", "Responses of the API server", ("code", "method", "host"))
REQUEST_SECONDS = _histogram(
    "rest_client_request_duration_seconds",
    "Time to the first byte of a response",
    ("verb", "host"),
    _REQUEST_BUCKETS,
)
REQUEST_RETRIES = _counter("rest_client_request_retries", "Retried requests", ("code", "verb", "host"))
RATE_LIMITER_SECONDS = _histogram(
    "rest_client_rate_limiter_duration_seconds",
    "Wait for a free request slot",
    ("verb", "host"),
    _REQUEST_BUCKETS,
)

LEADER = _gauge("leader_election_master_status", "1 = this process holds the Lease", ("name",))
LEADER_SLOWPATH = _counter("leader_election_slowpath", "Failed renewals of the Lease", ("name",))

WATCH_MESSAGE = _gauge(
    "pgoperator_watch_last_message_timestamp_seconds",
    "Time of the last message of a watch",
    ("kind", "namespace"),
)
WATCH_RESTARTS = _counter("pgoperator_watch_restarts", "Started watches by reason", ("kind", "reason"))
CLUSTER_READY = _of_cluster("pgoperator_cluster_ready", "1 = the cluster is ready")
CLUSTER_CONDITION = _of_cluster(
    "pgoperator_cluster_condition", "1 = the condition is true, 0 = it is false or unknown", "condition"
)
CERTIFICATE_EXPIRY = _of_cluster(
    "pgoperator_certificate_expiry_timestamp_seconds",
    "Earliest expiry of the certificates in a Secret of the cluster",
    "secret",
)
CLUSTER_PRIMARY = _of_cluster("pgoperator_cluster_primary", "1 for the pod of the primary", "pod")
CLUSTER_REPLICAS = _of_cluster("pgoperator_cluster_replicas", "Instances by state", "state")
RECONCILE_REASON = _of_cluster(
    "pgoperator_reconcile_reason", "1 for the reason that the cluster waits for", "reason"
)
NEXT_BACKUP = _of_cluster(
    "pgoperator_backup_next_run_timestamp", "Next run of a backup schedule", "repo", "type"
)
LAST_BACKUP = _of_cluster(
    "pgoperator_backup_last_success_timestamp", "Completion of the last backup of a schedule", "repo", "type"
)
BACKUP_AGE = _of_cluster(
    "pgoperator_backup_age_seconds", "Time since the newest backup in a repository", "repo"
)
RESTORABLE_UNTIL = _of_cluster(
    "pgoperator_restorable_until_timestamp", "Latest restorable time: the last archived commit"
)
ARCHIVE_AGE = _of_cluster(
    "pgoperator_archive_age_seconds", "Time since the primary last archived a WAL segment"
)
RESTORE_PROVEN = _of_cluster(
    "pgoperator_restore_proven_timestamp", "End of the last restore drill that succeeded"
)
RESTORE_SECONDS = _of_cluster(
    "pgoperator_restore_drill_seconds", "Duration of the restore in the last drill that succeeded"
)
_INFO = _gauge("pgoperator_build_info", "Always 1", ("version",))
_INFO.labels(__version__).set(1)


_Value = float | Callable[[], float]
_series: dict[tuple[Gauge, str, str], set[tuple[str, ...]]] = {}
"""(gauge, namespace, cluster) -> the values of the other labels of its series."""


class QueueState(Protocol):
    """State of a work queue at the time of a scrape."""

    name: str

    def depth(self) -> Mapping[int, int]:
        """Return the number of due keys by priority."""

    def running_seconds(self) -> Iterable[float]:
        """Return for each running key the seconds since it was taken."""


class _Queues(Collector):
    """Gauges that are computed at the scrape, because an update at each change would cost more."""

    def __init__(self) -> None:
        self.queues: dict[str, QueueState] = {}

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        depth = GaugeMetricFamily("workqueue_depth", "Keys that are due", labels=[*_QUEUE, "priority"])
        unfinished = GaugeMetricFamily(
            "workqueue_unfinished_work_seconds", "Sum of the running times of all keys", labels=_QUEUE
        )
        longest = GaugeMetricFamily(
            "workqueue_longest_running_processor_seconds", "Running time of the oldest key", labels=_QUEUE
        )
        for name, queue in self.queues.items():
            for priority, keys in queue.depth().items():
                depth.add_metric([name, name, str(priority)], keys)
            seconds = list(queue.running_seconds())
            unfinished.add_metric([name, name], sum(seconds))
            longest.add_metric([name, name], max(seconds, default=0.0))
        return depth, unfinished, longest


_QUEUES = _Queues()
REGISTRY.register(_QUEUES)


def start_controller(name: str, workers: int, queue: QueueState) -> None:
    """Initialize every series of a controller with 0, so that a rate over its first event is right."""
    for result in RESULTS:
        RECONCILES.labels(name, result)
    for metric in (
        RECONCILE_ERRORS,
        TERMINAL_ERRORS,
        RECONCILE_PANICS,
        RECONCILE_TIMEOUTS,
        RECONCILE_SECONDS,
    ):
        metric.labels(name)
    ACTIVE_WORKERS.labels(name).set(0)
    MAX_WORKERS.labels(name).set(workers)
    for metric in (QUEUE_ADDS, QUEUE_RETRIES, QUEUE_SECONDS, WORK_SECONDS):
        metric.labels(name, name)
    _QUEUES.queues[name] = queue


def show_cluster(
    namespace: str,
    cluster: str,
    *,
    primary: str | None,
    replicas: Mapping[str, int],
    reason: str,
) -> None:
    """Publish a cluster's members and remove the series of an earlier primary, state or reason.

    `replicas`: number of instances by state; `reason`: CamelCase, "" when the cluster waits for nothing.
    """
    _replace(CLUSTER_PRIMARY, namespace, cluster, {(primary,): 1} if primary else {})
    _replace(CLUSTER_REPLICAS, namespace, cluster, {(state,): count for state, count in replicas.items()})
    _replace(RECONCILE_REASON, namespace, cluster, {(reason,): 1} if reason else {})


def show_conditions(namespace: str, cluster: str, conditions: Mapping[str, bool]) -> None:
    """Publish the conditions of a cluster's status by type and remove the series of absent conditions."""
    _replace(CLUSTER_READY, namespace, cluster, {(): conditions.get("Ready", False)})
    _replace(CLUSTER_CONDITION, namespace, cluster, {(type_,): on for type_, on in conditions.items()})


def show_certificates(namespace: str, cluster: str, ends: Mapping[str, float]) -> None:
    """Publish the earliest certificate expiry per Secret, in Unix seconds."""
    _replace(CERTIFICATE_EXPIRY, namespace, cluster, {(secret,): end for secret, end in ends.items()})


def show_backups(
    namespace: str,
    cluster: str,
    *,
    next_runs: Mapping[tuple[str, str], float],
    successes: Mapping[tuple[str, str], float],
    newest: Mapping[str, float],
) -> None:
    """Publish times of schedules by (repository, type) and of the newest backups, in Unix seconds."""
    _replace(NEXT_BACKUP, namespace, cluster, next_runs)
    _replace(LAST_BACKUP, namespace, cluster, successes)
    ages = {(repo,): _since(moment) for repo, moment in newest.items()}
    _replace(BACKUP_AGE, namespace, cluster, ages)


def show_restorable(namespace: str, cluster: str, *, commit: float, pushed: float) -> None:
    """Publish the latest restorable time and the time of the last WAL push, in Unix seconds."""
    _replace(RESTORABLE_UNTIL, namespace, cluster, {(): commit})
    _replace(ARCHIVE_AGE, namespace, cluster, {(): _since(pushed)})


def show_drills(namespace: str, cluster: str, *, proven: float | None, seconds: float | None) -> None:
    """Publish when a restore drill last succeeded (Unix seconds), and how long that restore took."""
    _replace(RESTORE_PROVEN, namespace, cluster, {(): proven} if proven is not None else {})
    _replace(RESTORE_SECONDS, namespace, cluster, {(): seconds} if seconds is not None else {})


def forget_cluster(namespace: str, cluster: str) -> None:
    """Remove every series of a deleted cluster."""
    for gauge in (
        *(CLUSTER_READY, CLUSTER_CONDITION, CLUSTER_PRIMARY, CLUSTER_REPLICAS),
        *(RECONCILE_REASON, CERTIFICATE_EXPIRY),
        *(NEXT_BACKUP, LAST_BACKUP, BACKUP_AGE, RESTORABLE_UNTIL, ARCHIVE_AGE),
        *(RESTORE_PROVEN, RESTORE_SECONDS),
    ):
        _replace(gauge, namespace, cluster, {})


def _since(moment: float) -> Callable[[], float]:
    return lambda: max(0.0, time.time() - moment)


def _replace(gauge: Gauge, namespace: str, cluster: str, series: Mapping[Any, _Value]) -> None:
    """Set a cluster's series, by a tuple of the labels after namespace and cluster, and remove its others.

    prometheus_client can only search the series of all clusters for them: 16 ms per reconciliation with 1000
    clusters.
    """
    former = _series.pop((gauge, namespace, cluster), set())
    for labels in former - series.keys():
        gauge.remove(namespace, cluster, *labels)
    for labels, value in series.items():
        one = gauge.labels(namespace, cluster, *labels)
        if callable(value):
            one.set_function(value)
        else:
            one.set(value)
    if series:
        _series[gauge, namespace, cluster] = set(series)


def exposition() -> bytes:
    """Return all metrics in the text format of Prometheus."""
    return generate_latest(REGISTRY)
