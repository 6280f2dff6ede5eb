"""What a cluster costs while nothing happens: requests and memory."""

import time

from local import cluster as kubernetes
from tests.bench import baseline
from tests.bench.place import Place
from tests.bench.table import say, table
from tests.support.audit import AuditLog, by_what
from tests.support.restores import first_backup

SECONDS = 180
SETTLE = 20


def idle(place: Place) -> None:
    """Count the operator's requests beside a ready cluster."""
    cluster = place.cluster()
    first_backup(cluster)
    time.sleep(SETTLE)
    cpu = place.operator.cpu_seconds()
    audit = AuditLog(kubernetes.SERVER.audit_log)
    time.sleep(SECONDS)
    entries = audit.entries(place.operator.user)
    execs = sum(e.subresource == "exec" for e in entries)
    writes = sum(e.is_write for e in entries) - execs
    used = place.operator.cpu_seconds() - cpu
    rows = [
        ("writes, leases apart", str(writes), "0", ""),
        ("execs", str(execs), "0", "36"),
        ("all requests", str(len(entries)), "", baseline.IDLE_180),
        ("CPU seconds", f"{used:.2f}", "", ""),
    ]
    table(f"Idle for {SECONDS} s with one ready cluster", ("what", "ours", "goal", "the original"), rows)
    say(by_what(entries))
    memory(place, created=True)
    assert cluster.is_ready()


def memory(place: Place, *, created: bool = False) -> None:
    """Print the operator's memory with one cluster."""
    before = None
    if not created:
        before = place.operator.resident()
        place.cluster()
        time.sleep(SETTLE)
    found = place.operator.resident()
    rows = [
        ("RSS with one cluster, MiB", f"{found['kernel']:.1f}", "at most 110", baseline.MEMORY_ONE),
        ("… by its own metrics", f"{found['metrics']:.1f}", "", ""),
    ]
    if before is not None:
        rows.insert(0, ("RSS without any, MiB", f"{before['kernel']:.1f}", "", ""))
    table("Memory of the operator", ("what", "ours", "goal", "the original"), rows)
