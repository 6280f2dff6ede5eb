"""Decide: does the primary acknowledge writes? `write-check.sh` annotates its pod when it does not. Pure."""

from pgoperator import labels, limits
from pgoperator.kube.manifest import annotations_of
from reconcilers.pgcluster.state.findings import Problem
from reconcilers.pgcluster.state.view import View

_POOLER = "pgBouncer"


def problems(view: View) -> list[Problem]:
    """Why a write is not acknowledged now, in PostgreSQL's words; none while the annotation is absent.

    A pooler that is paused, or was removed, makes its clients wait on purpose.
    """
    primary, pooler = view.observed.primary, view.cluster.spec.pg_bouncer
    if primary is None or primary.pod is None:
        return []
    try:
        report = limits.loads(annotations_of(primary.pod).get(labels.WRITE_FAILURE, ""))
        since, cause = limits.moment(report["since"]), str(report["cause"])
        through = str(report.get("through", ""))
    except limits.MALFORMED:
        return []
    if through == _POOLER and (pooler is None or pooler.paused):
        return []
    text = f"writes to {primary.pod_name} have not been acknowledged since {since:%Y-%m-%dT%H:%M:%SZ}"
    return [Problem("WriteFailing", f"{text}: {cause}")]
