"""The conditions `PendingRestart` and `Switchover`. Pure."""

from reconcilers.pgcluster.state.cache import Change, SwitchoverOutcome
from reconcilers.pgcluster.state.findings import Finding
from reconcilers.pgcluster.state.view import View


def conditions(view: View, change: Change) -> list[Finding]:
    """Pending restarts and the last requested switchover; empty when neither exists."""
    findings = []
    pending = [i.pod_name for i in view.observed.instances if i.member.pending_restart]
    if pending:
        message = f"parameters need a restart of PostgreSQL in {', '.join(pending)}"
        message += f": {change.restarting}" if change.restarting else ""
        findings.append(Finding("PendingRestart", True, "ParametersChanged", message))
    outcome = change.switchover or _reported_before(view, change)
    if outcome is not None:
        findings.append(Finding("Switchover", outcome.status, outcome.reason, outcome.message))
    return findings


def _reported_before(view: View, change: Change) -> SwitchoverOutcome | None:
    """The outcome of the last requested switchover, which stays until the next request."""
    reported = view.cluster.status.condition("Switchover")
    if reported is None or change.carried_out is None:
        return None
    return SwitchoverOutcome(change.carried_out, reported.status == "True", reported.reason, reported.message)
