"""The cost of an idle cluster: requests and memory."""

import time

from local import cluster as kubernetes
from tests.bench import baseline
from tests.bench.place import Stage
from tests.bench.table import Row, emit
from tests.support.audit import AuditLog, by_what
from tests.support.backups import first_backup

SECONDS = 180
SETTLE = 20


def idle(stage: Stage, rows: list[Row]) -> None:
    """Count the operator's requests beside a ready cluster."""
    operator, cluster = stage.place().operator, stage.cluster()
    first_backup(cluster)
    time.sleep(SETTLE)
    cpu = operator.cpu_seconds()
    audit = AuditLog(kubernetes.SERVER.audit_log)
    time.sleep(SECONDS)
    entries = audit.entries(operator.user)
    execs = sum(e.subresource == "exec" for e in entries)
    writes = sum(e.is_write for e in entries) - execs
    used = operator.cpu_seconds() - cpu
    rows += [
        (f"idle for {SECONDS} s: writes, leases apart", str(writes), "0", ""),
        ("… execs", str(execs), "0", "36"),
        ("… all requests", str(len(entries)), "", baseline.IDLE_180),
        ("… CPU seconds", f"{used:.2f}", "", ""),
        *_resident(operator.resident()),
    ]
    emit(by_what(entries))
    assert cluster.is_ready()


def memory(stage: Stage, rows: list[Row]) -> None:
    """Measure the operator's memory without and with one cluster."""
    stage.leave()
    operator = stage.place().operator
    before = operator.resident()
    stage.cluster()
    time.sleep(SETTLE)
    rows.append(("RSS without any cluster, MiB", f"{before['kernel']:.1f}", "", ""))
    rows += _resident(operator.resident())


def _resident(found: dict[str, float]) -> list[Row]:
    return [
        ("RSS with one cluster, MiB", f"{found['kernel']:.1f}", "at most 110", baseline.MEMORY_ONE),
        ("… by its own metrics", f"{found['metrics']:.1f}", "", ""),
    ]
