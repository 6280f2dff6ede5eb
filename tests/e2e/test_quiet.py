"""An idle cluster costs no writes and no execs, also after the operator restarts."""

import time

from pgoperator.settings import LEASE_NAME
from tests.support.audit import AuditLog, by_what
from tests.support.backups import first_backup
from tests.support.clusters import Cluster
from tests.support.kubectl import until
from tests.support.operators import Operator
from tests.support.output import emit

# By then the last status and Patroni's first loops have arrived.
SETTLE_SECONDS = 15
# In total less than archive_timeout, after which PostgreSQL archives its own writes and the status changes.
QUIET_SECONDS = 40


def settle(cluster: Cluster) -> None:
    """Wait until a ready cluster has settled: first backup, autovacuum, and their WAL."""
    first_backup(cluster)
    for database in ("postgres", "template1", cluster.name):
        cluster.psql("VACUUM ANALYZE", database=database)
    count = "SELECT archived_count FROM pg_stat_archiver"
    before = cluster.psql(count)
    cluster.psql("SELECT pg_switch_wal()")
    until("the last WAL is archived", lambda: cluster.psql(count) != before, 60, cluster.explain)
    time.sleep(SETTLE_SECONDS)


def noise(audit: AuditLog, operator: Operator) -> tuple[list[str], list[str]]:
    """Return the writes and execs of the operator since the log was opened."""
    entries = audit.entries(operator.user)
    writes = [f"{e.what} {e.name}" for e in entries if e.is_write and e.subresource != "exec"]
    return writes, [f"{e.what} {e.name}" for e in entries if e.subresource == "exec"]


def test_a_ready_cluster_costs_nothing(cluster: Cluster, operator: Operator, audit: AuditLog) -> None:
    settle(cluster)
    assert cluster.is_ready()
    quiet = AuditLog(audit.path)
    time.sleep(QUIET_SECONDS)
    entries = quiet.entries(operator.user)
    emit(f"in {QUIET_SECONDS} s:\n{by_what(entries)}")
    assert entries, "the audit log does not show the operator at all"
    assert noise(quiet, operator) == ([], [])
    reads = [e.what for e in entries if e.verb in ("get", "list") and e.resource != "leases"]
    assert reads == []


def test_a_restarted_operator_changes_nothing(cluster: Cluster, operator: Operator, audit: AuditLog) -> None:
    settle(cluster)
    before, version = cluster.restarts(), cluster.cr()["metadata"]["resourceVersion"]
    audit = AuditLog(audit.path)
    operator.restart()
    time.sleep(30)
    writes, execs = noise(audit, operator)
    emit(f"after the restart:\n{by_what(audit.entries(operator.user))}")
    # The new process checks the database once, to find drift.
    assert len(execs) <= 1, execs
    assert [w for w in writes if "perconapgclusters/status" not in w and "events" not in w] == []
    assert cluster.restarts() == before
    assert cluster.is_ready()
    assert cluster.cr()["metadata"]["resourceVersion"] == version
    assert operator.kubectl.find("lease", LEASE_NAME) is not None
