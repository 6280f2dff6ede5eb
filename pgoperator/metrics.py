"""Every metric of the process.

The names and labels of controller-runtime, workqueue and rest_client are those of Go operators, so that
boards and alerts made for them work unchanged; `pgoperator_…` are our own. All live in REGISTRY.
"""

import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pgoperator import __version__

REGISTRY = CollectorRegistry(auto_describe=False)
ProcessCollector(registry=REGISTRY)

RESULTS = ("success", "error", "requeue", "requeue_after")
# Seconds; a pass is limited to 120.
_PASS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_QUEUE_BUCKETS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1, 10, 100, 1000)
_REQUEST_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
_QUEUE = ("name", "controller")


def _counter(name: str, text: str, labels: tuple[str, ...]) -> Counter:
    return Counter(name, text, labels, registry=REGISTRY)


def _gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
    return Gauge(name, text, labels, registry=REGISTRY)


def _histogram(name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
    return Histogram(name, text, labels, buckets=buckets, registry=REGISTRY)


RECONCILES = _counter("controller_runtime_reconcile", "Passes by outcome", ("controller", "result"))
RECONCILE_ERRORS = _counter("controller_runtime_reconcile_errors", "Passes that failed", ("controller",))
TERMINAL_ERRORS = _counter(
    "controller_runtime_terminal_reconcile_errors", "Passes that failed and are not retried", ("controller",)
)
RECONCILE_PANICS = _counter(
    "controller_runtime_reconcile_panics", "Passes that ended with an exception nobody raised on purpose",
    ("controller",),
)  # fmt: skip
RECONCILE_TIMEOUTS = _counter(
    "controller_runtime_reconcile_timeouts", "Passes cancelled at their deadline", ("controller",)
)
RECONCILE_SECONDS = _histogram(
    "controller_runtime_reconcile_time_seconds", "Length of a pass", ("controller",), _PASS_BUCKETS
)
ACTIVE_WORKERS = _gauge("controller_runtime_active_workers", "Passes under way", ("controller",))
MAX_WORKERS = _gauge("controller_runtime_max_concurrent_reconciles", "Workers", ("controller",))

QUEUE_ADDS = _counter("workqueue_adds", "Keys that became ready for a pass", _QUEUE)
QUEUE_RETRIES = _counter("workqueue_retries", "Keys put back after a failure", _QUEUE)
QUEUE_SECONDS = _histogram("workqueue_queue_duration_seconds", "Wait for a worker", _QUEUE, _QUEUE_BUCKETS)
WORK_SECONDS = _histogram("workqueue_work_duration_seconds", "Time with a worker", _QUEUE, _QUEUE_BUCKETS)

REQUESTS = _counter("rest_client_requests", "Answers of the API server", ("code", "method", "host"))
REQUEST_SECONDS = _histogram(
    "rest_client_request_duration_seconds",
    "Time to an answer's first byte",
    ("verb", "host"),
    _REQUEST_BUCKETS,
)
REQUEST_RETRIES = _counter("rest_client_request_retries", "Requests sent again", ("code", "verb", "host"))
RATE_LIMITER_SECONDS = _histogram(
    "rest_client_rate_limiter_duration_seconds",
    "Wait for a free request slot",
    ("verb", "host"),
    _REQUEST_BUCKETS,
)

LEADER = _gauge("leader_election_master_status", "1 = this process holds the Lease", ("name",))
LEADER_SLOWPATH = _counter("leader_election_slowpath", "Renewals of the Lease that failed", ("name",))

WATCH_MESSAGE = _gauge(
    "pgoperator_watch_last_message_timestamp_seconds",
    "When a watch last said anything",
    ("kind", "namespace"),
)
WATCH_RESTARTS = _counter("pgoperator_watch_restarts", "Watches begun, by why", ("kind", "reason"))
CLUSTER_READY = _gauge("pgoperator_cluster_ready", "1 = the cluster is as promised", ("namespace", "cluster"))
CLUSTER_CONDITION = _gauge(
    "pgoperator_cluster_condition",
    "1 = the condition is true, 0 = it is not",
    ("namespace", "cluster", "condition"),
)
CERTIFICATE_EXPIRY = _gauge(
    "pgoperator_certificate_expiry_timestamp_seconds",
    "When the first certificate in a Secret of the cluster ends",
    ("namespace", "cluster", "secret"),
)
CLUSTER_PRIMARY = _gauge(
    "pgoperator_cluster_primary", "1 for the pod that takes writes", ("namespace", "cluster", "pod")
)
CLUSTER_REPLICAS = _gauge(
    "pgoperator_cluster_replicas", "Instances by state", ("namespace", "cluster", "state")
)
RECONCILE_REASON = _gauge(
    "pgoperator_reconcile_reason", "1 for what the cluster waits for", ("namespace", "cluster", "reason")
)
NEXT_BACKUP = _gauge(
    "pgoperator_backup_next_run_timestamp",
    "When a schedule is due next",
    ("namespace", "cluster", "repo", "type"),
)
LAST_BACKUP = _gauge(
    "pgoperator_backup_last_success_timestamp",
    "When a backup of a schedule last completed",
    ("namespace", "cluster", "repo", "type"),
)
BACKUP_AGE = _gauge(
    "pgoperator_backup_age_seconds",
    "Time since the newest backup in a repository",
    ("namespace", "cluster", "repo"),
)
RESTORABLE_UNTIL = _gauge(
    "pgoperator_restorable_until_timestamp", "Last commit that is archived", ("namespace", "cluster")
)
ARCHIVE_AGE = _gauge(
    "pgoperator_archive_age_seconds",
    "Time since the primary last archived a WAL segment",
    ("namespace", "cluster"),
)
_INFO = _gauge("pgoperator_build_info", "Always 1", ("version",))
_INFO.labels(__version__).set(1)


class QueueState(Protocol):
    """What a work queue tells at the moment of a scrape."""

    name: str

    def depth(self) -> Mapping[int, int]:
        """Return ready keys by priority."""

    def running_seconds(self) -> Iterable[float]:
        """Return how long each key in work has been there."""


class _Queues(Collector):
    """Gauges that would cost work at each change are computed when somebody looks."""

    def __init__(self) -> None:
        self.queues: dict[str, QueueState] = {}

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        depth = GaugeMetricFamily("workqueue_depth", "Keys ready for a worker", labels=[*_QUEUE, "priority"])
        unfinished = GaugeMetricFamily(
            "workqueue_unfinished_work_seconds", "Time in work, all keys together", labels=_QUEUE
        )
        longest = GaugeMetricFamily(
            "workqueue_longest_running_processor_seconds", "Time in work of the oldest key", labels=_QUEUE
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
    """Make every series of a controller exist with 0, so that a rate over its first event is right."""
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
    """Publish a cluster's members; series of an earlier primary, state or reason go away. No reason = ""."""
    where = {"namespace": namespace, "cluster": cluster}
    CLUSTER_PRIMARY.remove_by_labels(where)
    if primary:
        CLUSTER_PRIMARY.labels(namespace, cluster, primary).set(1)
    CLUSTER_REPLICAS.remove_by_labels(where)
    for state, count in replicas.items():
        CLUSTER_REPLICAS.labels(namespace, cluster, state).set(count)
    RECONCILE_REASON.remove_by_labels(where)
    if reason:
        RECONCILE_REASON.labels(namespace, cluster, reason).set(1)


def show_conditions(namespace: str, cluster: str, conditions: Mapping[str, bool]) -> None:
    """Publish the conditions of a cluster's status by type; those that it has no more go away."""
    CLUSTER_READY.labels(namespace, cluster).set(conditions.get("Ready", False))
    CLUSTER_CONDITION.remove_by_labels({"namespace": namespace, "cluster": cluster})
    for condition, is_true in conditions.items():
        CLUSTER_CONDITION.labels(namespace, cluster, condition).set(is_true)


def show_certificates(namespace: str, cluster: str, ends: Mapping[str, float]) -> None:
    """Publish by Secret when its first certificate ends: seconds of the epoch."""
    CERTIFICATE_EXPIRY.remove_by_labels({"namespace": namespace, "cluster": cluster})
    for secret, moment in ends.items():
        CERTIFICATE_EXPIRY.labels(namespace, cluster, secret).set(moment)


def show_backups(
    namespace: str,
    cluster: str,
    *,
    next_runs: Mapping[tuple[str, str], float],
    successes: Mapping[tuple[str, str], float],
    newest: Mapping[str, float],
) -> None:
    """Publish a cluster's schedules, by (repository, type), and its newest backups: seconds of the epoch."""
    where = {"namespace": namespace, "cluster": cluster}
    for gauge, times in ((NEXT_BACKUP, next_runs), (LAST_BACKUP, successes)):
        gauge.remove_by_labels(where)
        for (repo, kind), moment in times.items():
            gauge.labels(namespace, cluster, repo, kind).set(moment)
    BACKUP_AGE.remove_by_labels(where)
    for repo, moment in newest.items():
        BACKUP_AGE.labels(namespace, cluster, repo).set_function(partial(_since, moment))


def show_restorable(namespace: str, cluster: str, *, commit: float, pushed: float) -> None:
    """Publish until when a cluster can be restored, and when it last archived: seconds of the epoch."""
    RESTORABLE_UNTIL.labels(namespace, cluster).set(commit)
    ARCHIVE_AGE.labels(namespace, cluster).set_function(partial(_since, pushed))


def _since(moment: float) -> float:
    return max(0.0, time.time() - moment)


def forget_cluster(namespace: str, cluster: str) -> None:
    """Remove every series of a deleted cluster."""
    for gauge in (
        *(CLUSTER_READY, CLUSTER_CONDITION, CLUSTER_PRIMARY, CLUSTER_REPLICAS),
        *(RECONCILE_REASON, CERTIFICATE_EXPIRY),
        *(NEXT_BACKUP, LAST_BACKUP, BACKUP_AGE, RESTORABLE_UNTIL, ARCHIVE_AGE),
    ):
        gauge.remove_by_labels({"namespace": namespace, "cluster": cluster})


def exposition() -> bytes:
    """Return all metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)
