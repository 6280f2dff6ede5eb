"""The conditions about pgBouncer. Pure."""

from reconcilers.pgcluster.state.findings import Finding
from reconcilers.pgcluster.state.view import View, is_ready

PAUSED = "PGBouncerPaused"


def conditions(view: View, late: tuple[str, ...]) -> list[Finding]:
    """`ProxyAvailable` and `PGBouncerPaused`; `late` are the pods that are not paused or resumed yet."""
    if view.cluster.spec.pg_bouncer is None:
        return []
    available = any(is_ready(pod) for pod in view.observed.pooler_pods)
    finding = Finding(
        "ProxyAvailable",
        available,
        "PGBouncerAvailable" if available else "PGBouncerUnavailable",
        "a pgBouncer pod is ready" if available else "no pgBouncer pod is ready",
    )
    return [finding, *_paused(view, late)]


def _paused(view: View, late: tuple[str, ...]) -> list[Finding]:
    """Whether pgBouncer holds queries; no condition when it does not and should not."""
    names = ", ".join(late)
    if view.cluster.spec.pg_bouncer and view.cluster.spec.pg_bouncer.paused:
        if late or not view.observed.pooler_pods:
            return [Finding(PAUSED, False, "Pausing", f"waiting for {names or 'a pgBouncer pod'} to pause")]
        return [
            Finding(
                PAUSED,
                True,
                "Paused",
                "pgBouncer holds all queries until spec.proxy.pgBouncer.paused is set to false",
            )
        ]
    return [Finding(PAUSED, True, "Resuming", f"waiting for {names} to release held queries")] if late else []
