"""The names are an interface: boards and alerts of Go operators read them."""

import time

from pgoperator import metrics
from pgoperator.kube.manifest import Key
from pgoperator.runtime.queue import WorkQueue


def lines(prefix: str) -> list[str]:
    return [line for line in metrics.exposition().decode().splitlines() if line.startswith(prefix)]


def test_a_controllers_series_exist_from_the_start() -> None:
    queue = WorkQueue("series")
    metrics.start_controller("series", 7, queue)
    text = metrics.exposition().decode()
    for result in ("success", "error", "requeue", "requeue_after"):
        assert f'controller_runtime_reconcile_total{{controller="series",result="{result}"}} 0.0' in text
    for name in (
        "controller_runtime_reconcile_errors_total",
        "controller_runtime_terminal_reconcile_errors_total",
        "controller_runtime_reconcile_panics_total",
        "controller_runtime_reconcile_timeouts_total",
        "controller_runtime_reconcile_time_seconds_count",
        "controller_runtime_active_workers",
    ):
        assert f'{name}{{controller="series"}} 0.0' in text
    assert 'controller_runtime_max_concurrent_reconciles{controller="series"} 7.0' in text
    for name in (
        "workqueue_adds_total",
        "workqueue_retries_total",
        "workqueue_queue_duration_seconds_count",
        "workqueue_work_duration_seconds_count",
        "workqueue_unfinished_work_seconds",
        "workqueue_longest_running_processor_seconds",
    ):
        assert f'{name}{{controller="series",name="series"}} 0.0' in text
    assert 'workqueue_depth{controller="series",name="series",priority="0"} 0.0' in text


def test_depth_is_what_is_due() -> None:
    queue = WorkQueue("depth")
    metrics.start_controller("depth", 1, queue)
    queue.add(Key("Thing", "ns", "a"))
    queue.add(Key("Thing", "ns", "b"), after=600)
    assert (
        'workqueue_depth{controller="depth",name="depth",priority="0"} 1.0' in metrics.exposition().decode()
    )


def test_a_clusters_series_follow_its_state_and_go_with_it() -> None:
    metrics.show_cluster("n", "c", primary="a-0", replicas={"streaming": 1, "lagging": 1}, reason="X")
    metrics.show_cluster("n", "c", primary="b-0", replicas={"streaming": 2}, reason="")
    metrics.show_conditions("n", "c", {"Ready": False, "BackupOverdue": True})
    metrics.show_conditions("n", "c", {"Ready": True, "Degraded": False})
    metrics.show_conditions("n", "other", {"Ready": True})
    metrics.show_certificates("n", "c", {"former": 1.0})
    metrics.show_certificates("n", "c", {"c-cluster-cert": 2.0})
    assert lines('pgoperator_cluster_ready{cluster="c"') == [
        'pgoperator_cluster_ready{cluster="c",namespace="n"} 1.0'
    ]
    primary = 'pgoperator_cluster_primary{cluster="c",namespace="n",pod="b-0"} 1.0'
    assert lines('pgoperator_cluster_primary{cluster="c"') == [primary]
    assert len(lines('pgoperator_cluster_replicas{cluster="c"')) == 1
    assert lines('pgoperator_cluster_condition{cluster="c"') == [
        'pgoperator_cluster_condition{cluster="c",condition="Ready",namespace="n"} 1.0',
        'pgoperator_cluster_condition{cluster="c",condition="Degraded",namespace="n"} 0.0',
    ]
    certificate = 'cluster="c",namespace="n",secret="c-cluster-cert"'
    assert lines("pgoperator_certificate_expiry_timestamp_seconds{") == [
        f"pgoperator_certificate_expiry_timestamp_seconds{{{certificate}}} 2.0"
    ]
    assert lines('pgoperator_reconcile_reason{cluster="c"') == []
    metrics.forget_cluster("n", "c")
    assert not [line for line in lines("pgoperator_") if 'cluster="c"' in line]
    assert [line for line in lines("pgoperator_") if 'cluster="other"' in line]
    metrics.forget_cluster("n", "c")


def test_series_of_many_clusters_cost_a_cluster_nothing() -> None:
    def seconds(number: int) -> float:
        begin = time.process_time()
        for turn in range(100):
            metrics.show_cluster(
                "many", f"c{number}", primary=f"p{turn % 2}", replicas={"ready": 2}, reason="X"
            )
            metrics.show_conditions("many", f"c{number}", {"Ready": True, "Degraded": False})
        return time.process_time() - begin

    alone = min(seconds(0) for _ in range(3))
    for number in range(1, 500):
        metrics.show_cluster("many", f"c{number}", primary="p0", replicas={"ready": 2}, reason="X")
        metrics.show_conditions("many", f"c{number}", {"Ready": True, "Degraded": False})
    try:
        assert min(seconds(0) for _ in range(3)) < 3 * alone
    finally:
        for number in range(500):
            metrics.forget_cluster("many", f"c{number}")
