"""The times of Patroni's leader lease, which Patroni itself would change without a word. Pure.

Patroni needs `loop_wait + 2 * retry_timeout <= ttl`, and has minimums. It changes a configuration that does
not fit when it reads it (`_validate_and_adjust_timeouts` of patroni/config.py), in memory only.
"""

from typing import NamedTuple

from pgoperator.api.postgres import Patroni

MINIMUM_LEASE = 20
MINIMUM_RETRY = 3
DEFAULT_RETRY = 10


class Lease(NamedTuple):
    """Seconds: the lease, the time between two rounds, and how long an unanswered request is tried again."""

    ttl: int
    loop_wait: int
    retry_timeout: int


def fitted(patroni: Patroni) -> Lease:
    """The times in force: the user's as far as Patroni accepts them; a missing `retry_timeout` follows.

    A lease of 20 s with rounds of 5 s gets 7 s. With 30 s and 10 s it is Patroni's default, 10 s.
    """
    ttl = max(patroni.leader_lease_duration_seconds, MINIMUM_LEASE)
    period = min(patroni.sync_period_seconds, ttl - 2 * MINIMUM_RETRY)
    retry = patroni.dynamic_configuration.get("retry_timeout")
    if not isinstance(retry, int) or isinstance(retry, bool):
        retry = min(DEFAULT_RETRY, max((ttl - period) // 2, MINIMUM_RETRY))
    # Patroni prefers short rounds to short retries.
    retry = min(max(retry, MINIMUM_RETRY), (ttl - 1) // 2)
    return Lease(ttl, min(period, ttl - 2 * retry), retry)


def overridden(patroni: Patroni) -> list[str]:
    """Paths of the fields whose values do not fit, each with the value in force."""
    lease, user = fitted(patroni), patroni.dynamic_configuration
    found = [f"spec.patroni.dynamicConfiguration.{name}" for name in ("ttl", "loop_wait") if name in user]
    pairs = [
        ("leaderLeaseDurationSeconds", patroni.leader_lease_duration_seconds, lease.ttl),
        ("syncPeriodSeconds", patroni.sync_period_seconds, lease.loop_wait),
        ("dynamicConfiguration.retry_timeout", user.get("retry_timeout"), lease.retry_timeout),
    ]
    changed = [(name, ours) for name, theirs, ours in pairs if theirs is not None and theirs != ours]
    return found + [
        f"spec.patroni.{name} (in force: {ours}, because Patroni refuses the value)" for name, ours in changed
    ]
