"""How time limits relate: of commands to the deadline of a pass, of the Lease, and of the process's end."""

from types import SimpleNamespace
from typing import Any

import pytest

from pgoperator.errors import CommandTimedOut, InvalidSpec
from pgoperator.install import deployment
from pgoperator.runtime import manager
from pgoperator.runtime.controller import DEADLINE
from pgoperator.settings import LeaseSettings
from reconcilers import read_info
from reconcilers.pgcluster.backups import act_stanza
from reconcilers.pgcluster.database import act_init_sql, act_sql
from reconcilers.pgcluster.imports import act_import
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
        "check of a restore": 2 * read_info.SECONDS,
        "import of backups": 4 * act_import.REPO_SECONDS,
    }
    assert {what: limit for what, limit in limits.items() if limit > DEADLINE - SLACK} == {}


async def test_a_slow_repository_gets_time_and_a_silent_one_is_named() -> None:
    """A command waits longer than pgBackRest for the store, so that the cause is pgBackRest's."""
    asked: list[tuple[list[str], float]] = []

    async def run(*_: object, timeout: float) -> str:  # noqa: ASYNC109 - that of the client
        asked.append((list(map(str, _[-1])), timeout))  # type: ignore[call-overload]
        raise CommandTimedOut("no answer")

    ctx: Any = SimpleNamespace(client=SimpleNamespace(exec=run))
    with pytest.raises(InvalidSpec, match="repo2 cannot be read: no answer"):
        await read_info.info(ctx, ("ns1", "host"), 2)
    [(words, limit)] = asked
    bounds = {w.split("=")[0]: int(w.split("=")[1]) for w in words if "timeout=" in w}
    assert 15 <= bounds["--io-timeout"] < bounds["--protocol-timeout"] < limit


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
