"""How time limits relate: of commands to the deadline of a pass, of the Lease, and of the process's end."""

from pgoperator.install import deployment
from pgoperator.runtime import manager
from pgoperator.runtime.controller import DEADLINE
from pgoperator.settings import LeaseSettings
from reconcilers import read_info
from reconcilers.pgcluster.backups import act_stanza
from reconcilers.pgcluster.database import act_init_sql, act_sql
from reconcilers.pgcluster.rollout import act_handover

SLACK = 10.0
"""Seconds for reads and writes of the same pass."""


def test_every_command_fits_into_a_pass() -> None:
    limits = {
        "init SQL": act_init_sql.TIMEOUT_SECONDS,
        "SQL": act_sql.TIMEOUT_SECONDS,
        "stanza": act_stanza.TIMEOUT_SECONDS,
        "checkpoint": act_handover.CHECKPOINT_SECONDS,
        "Patroni": act_handover.PATRONI_LIMIT,
        "hold": act_handover.LIMIT,
        "check of a restore": read_info.SECONDS,
    }
    assert {what: limit for what, limit in limits.items() if limit > DEADLINE - SLACK} == {}


def test_a_handover_fits_into_a_pass() -> None:
    """Checkpoint, hold, Patroni, release."""
    held = act_handover.LIMIT + act_handover.PATRONI_LIMIT + act_handover.LIMIT
    assert act_handover.CHECKPOINT_SECONDS + held <= DEADLINE - SLACK
    assert act_handover.PATRONI_SECONDS < act_handover.PATRONI_LIMIT, "the script's own word comes first"
    assert act_handover.DRAIN < act_handover.LIMIT


def test_sql_for_a_new_cluster_leaves_time_for_the_rest_of_the_pass() -> None:
    """It may run in the pass in which users and databases are set up."""
    assert act_sql.TIMEOUT_SECONDS + act_init_sql.TIMEOUT_SECONDS <= DEADLINE - SLACK
    assert act_init_sql.CHECK.total_seconds() < act_init_sql.TIMEOUT_SECONDS


def test_an_operator_that_is_stopped_ends_before_it_is_killed() -> None:
    """The manager cancels tasks at most four times after the passes had their time."""
    spec = deployment.deployment(cluster_wide=True)["spec"]["template"]["spec"]
    longest = manager.FINISH + 4 * manager.CANCEL + manager.TELL + manager.RELEASE
    assert longest < spec["terminationGracePeriodSeconds"]


def test_a_leader_gives_up_before_another_may_lead() -> None:
    lease = LeaseSettings()
    assert lease.retry_period < lease.renew_deadline < lease.duration
    assert lease.renew_deadline + manager.CANCEL < lease.duration
