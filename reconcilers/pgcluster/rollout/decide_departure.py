"""The primary's pod is being deleted, as by `kubectl drain`: which replica takes over. Pure."""

from dataclasses import dataclass

from pgoperator.kube.manifest import annotations_of, is_deleting, uid_of
from reconcilers.pgcluster.rollout import decide_rolling_update
from reconcilers.pgcluster.state.view import Instance, View


@dataclass(frozen=True, slots=True)
class Departure:
    """A primary that still runs, and the replica that is to take over."""

    primary: Instance
    candidate: Instance

    @property
    def uid(self) -> str:
        """UID of the primary's pod."""
        return uid_of(self.primary.pod or {"metadata": {}})


def decide(view: View, serving: frozenset[str]) -> Departure | None:
    """The departure of a primary whose pod is being deleted; None if nothing is to be done, or possible.

    `serving` are the names of instances that serve, of which none is being deleted. In a restore, or while
    the cluster or Patroni is paused, no instance takes over.
    """
    observed = view.observed
    if view.restoring is not None or view.paused or observed.is_patroni_paused:
        return None
    holder = annotations_of(observed.leader).get("leader") if observed.leader else None
    primary = next((i for i in observed.instances if i.is_primary and i.pod_name == holder), None)
    if primary is None or primary.pod is None or not is_deleting(primary.pod):
        return None
    ready = [i for i in observed.instances if i.name in serving]
    candidate = decide_rolling_update.best_candidate(view, ready, primary)
    return Departure(primary, candidate) if candidate is not None else None
