"""The condition `PatroniPaused`. Pure."""

from pgoperator import naming
from reconcilers.pgcluster.state.findings import Finding
from reconcilers.pgcluster.state.view import View


def paused(view: View) -> list[Finding]:
    """A warning as long as a person has paused Patroni; empty otherwise."""
    if not view.observed.is_patroni_paused:
        return []
    message = (
        "Patroni is paused: no replica takes over when the primary fails, and changes that restart instances "
        f"wait; end it with: patronictl resume {naming.patroni_scope(view.name)}"
    )
    return [Finding("PatroniPaused", True, "PausedByPatronictl", message)]
