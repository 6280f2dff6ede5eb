"""Two hundred clusters against an API server without nodes: growth, time, requests."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local import control_plane
from local.versions import POSTGRES_MAJOR
from tests.bench import baseline
from tests.bench.place import Stage
from tests.bench.table import Row, emit
from tests.support.audit import AuditLog, by_verb
from tests.support.clusters import example
from tests.support.kubectl import REPOSITORY, Kubectl, Manifest, until
from tests.support.operators import cpu_of, product_images, resident_of, wait_for_end

NAMESPACE = "fleet"
BATCH = 25
STATEFUL_SETS, DEPLOYMENTS = 4, 1  # of an example cluster


@dataclass(frozen=True)
class Process:
    """The operator as a process of this machine."""

    pid: int
    log: Path


def fleet(stage: Stage, rows: list[Row], count: int) -> None:
    """Apply so many clusters at once; print time, memory and requests."""
    stage.leave()  # a cluster with nodes would compete for the machine
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as folder:
        plane = control_plane.start(Path(folder) / "plane")
        try:
            admin = Kubectl(str(plane.kubeconfig), NAMESPACE)
            admin.run("apply", "--server-side", f"--filename={REPOSITORY / 'manifests' / 'crds'}")
            admin.run("create", "namespace", NAMESPACE)
            definitions = [
                f"customresourcedefinition/{name}" for name in admin.names("customresourcedefinitions")
            ]
            admin.run("wait", "--for=condition=Established", "--timeout=30s", *definitions)
            with _operator(plane, Path(folder)) as operator:
                rows += _measure(admin, AuditLog(plane.audit_log), operator, count)
        finally:
            plane.stop()


@contextmanager
def _operator(plane: control_plane.Handle, folder: Path) -> Iterator[Process]:
    """Run the operator from the sources, with a user of its own in the audit log."""
    config = plane.server.client("operator", "operator", "system:masters")
    log = folder / "operator.log"
    environment = os.environ | {
        "KUBECONFIG": str(config),
        "WATCH_NAMESPACE": NAMESPACE,
        "OPERATOR_NAMESPACE": NAMESPACE,
        "PGO_METRICS_PORT": "0",
        "PGO_HEALTH_PORT": "0",
        "PYTHONPATH": str(REPOSITORY),
        "MALLOC_ARENA_MAX": "1",
        **product_images(POSTGRES_MAJOR),
    }
    with log.open("wb") as stream:
        command = [sys.executable, "-m", "pgoperator", "run"]
        process = subprocess.Popen(
            command, env=environment, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL
        )
    try:
        yield Process(process.pid, log)
    finally:
        wait_for_end(process)


def _measure(admin: Kubectl, audit: AuditLog, operator: Process, count: int) -> list[Row]:
    def tail() -> str:
        return operator.log.read_text()[-3000:]

    until(
        "the operator watches", lambda: any(e.verb == "watch" for e in audit.entries('"operator"')), 30, tail
    )
    time.sleep(2)
    empty = resident_of(operator.pid)
    # The first cluster loads lazily imported code, which is not growth.
    admin.apply(_manifest("first"))
    until("the first exists", lambda: _workloads(admin) >= _expected(1), 60, tail)
    time.sleep(5)
    first_one = resident_of(operator.pid)
    audit = AuditLog(audit.path)
    began, cpu = time.monotonic(), cpu_of(operator.pid)
    for start in range(0, count, BATCH):
        admin.apply(*(_manifest(f"c{number:03}") for number in range(start, min(start + BATCH, count))))
    applied = time.monotonic() - began
    until("all workloads exist", lambda: _workloads(admin) >= _expected(count + 1), 900, tail, 1)
    everything = time.monotonic() - began
    used = cpu_of(operator.pid) - cpu
    entries = audit.entries('"operator"')
    resident = resident_of(operator.pid)
    emit(f"{count} clusters: {everything:.1f} s, {used:.1f} CPU s, {resident:.1f} MiB; {by_verb(entries)}")

    quiet, cpu = AuditLog(audit.path), cpu_of(operator.pid)
    time.sleep(60)
    idle = [e for e in quiet.entries('"operator"') if e.resource != "leases"]
    idle_cpu = cpu_of(operator.pid) - cpu
    later = resident_of(operator.pid)
    emit(f"the next 60 s: {by_verb(idle)} requests, {idle_cpu:.1f} CPU s")

    began = time.monotonic()
    admin.apply(_manifest("one-more"))
    selector = "postgres-operator.crunchydata.com/cluster=one-more"
    wanted = STATEFUL_SETS + DEPLOYMENTS
    until(
        "one more", lambda: len(admin.names("statefulsets,deployments", selector)) >= wanted, 300, tail, 0.1
    )
    one_more = time.monotonic() - began
    growth = (later - first_one) / count
    return [
        (
            f"{count} clusters without nodes: until all exist, s",
            f"{everything:.1f} (applied after {applied:.1f})",
            "",
            baseline.FLEET_ALL_EXIST,
        ),
        ("… requests", by_verb(entries), "", baseline.FLEET_REQUESTS),
        ("… CPU, s", f"{used:.1f}", "", baseline.FLEET_CPU),
        (
            "… RSS, MiB",
            f"{empty:.1f} empty, {first_one:.1f} with 1, {resident:.1f} with all, {later:.1f} a minute later",
            "",
            baseline.FLEET_MEMORY,
        ),
        ("… growth per cluster, MiB", f"{growth:.3f}", "at most 0.5", "1.05 MB"),
        (
            "… the next 60 s, leases apart",
            f"{by_verb(idle)}; {idle_cpu:.1f} CPU s",
            "",
            baseline.FLEET_IDLE_60,
        ),
        ("… one more cluster while they wait, s", f"{one_more:.1f}", "at most 2", baseline.FLEET_ONE_MORE),
    ]


def _manifest(name: str) -> Manifest:
    manifest = example(name)
    manifest["metadata"]["namespace"] = NAMESPACE
    return manifest


def _expected(count: int) -> int:
    return count * (STATEFUL_SETS + DEPLOYMENTS)


def _workloads(admin: Kubectl) -> int:
    found = admin.run("get", "statefulsets,deployments", "--output=name", seconds=120)
    return len(found.split())
