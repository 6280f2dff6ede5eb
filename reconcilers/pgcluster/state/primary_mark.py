"""The primary's mark: which instance's volume holds the newest data while no primary runs.

Rules:

* The mark is an annotation of a data volume's claim; its value is the time of writing (ISO 8601). The newest
  mark counts. `paused-primary` is written when a cluster stops for a pause or a restore; `last-primary` when
  it is deleted or filled from volumes, and counts only until PostgreSQL has been started (the cluster has a
  system identifier).
* The marked instance is planned first, starts first, and starts alone: Patroni compares only the members that
  run, so an older member that starts first would become the primary, and the newest data would be lost.
* If the marked instance is not planned and no primary exists, nothing starts: `check` raises InvalidSpec.
* A restore that loses the data of its instance removes that instance's mark. Then the replica with the most
  data starts first: it was marked just before, so its mark counts only now.
* All marks are removed once a primary exists. From then on the primary's data is authoritative; a mark that
  stayed would bring back old data after the next deletion.
* Only claims whose name the operator could have given count: a copied claim with a copied mark is not an
  instance.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from pgoperator import labels, naming
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import Manifest, annotations_of, name_of
from reconcilers.pgcluster.state.view import Observed, Planned

PAUSED, LAST = labels.PAUSED_PRIMARY, labels.LAST_PRIMARY
_UNREADABLE = datetime.min.replace(tzinfo=UTC)


def marked(observed: Observed) -> str:
    """Name of the instance that must start first; "" when any instance may."""
    names = (PAUSED,) if observed.system_identifier else (PAUSED, LAST)
    times = {
        naming.instance_of_volume(name_of(claim)): time
        for claim in observed.volumes
        if (time := _newest(claim, names)) is not None
    }
    return max(times, key=lambda name: (times[name], name), default="")


def _newest(claim: Manifest, names: Iterable[str]) -> datetime | None:
    """When the claim was marked; an unreadable time counts as older than any other."""
    values = [annotations_of(claim).get(name) for name in names]
    return max((_time(text) for text in values if text), default=None)


def is_since(claim: Manifest, moment: datetime) -> bool:
    """Whether a claim was marked at this time or later."""
    time = _newest(claim, (PAUSED, LAST))
    return time is not None and time >= moment


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return _UNREADABLE
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def waits(observed: Observed, name: str) -> bool:
    """Whether an instance must not start yet: another instance is marked, and no primary exists."""
    first = marked(observed)
    return bool(first) and first != name and observed.primary is None


def check(observed: Observed, planned: Sequence[Planned]) -> None:
    """Raise InvalidSpec when the marked instance is not planned and no primary exists."""
    first = marked(observed)
    if not first or observed.primary is not None or first in {instance.name for instance in planned}:
        return
    claim = naming.instance_volume(first)
    raise InvalidSpec(
        f"volume claim {claim} holds the data of the last primary, but spec.instances does not include "
        f"instance {first}: add its instance set again, or remove the annotations {PAUSED} and {LAST} from "
        "the claim to start from older data",
        reason="LastPrimaryNotPlanned",
    )


async def write(ctx: Context, namespace: str, instance: str, kind: str, when: datetime) -> None:
    """Mark the data volume of an instance at the time `when`; `kind` is PAUSED or LAST."""
    patch = {"metadata": {"annotations": {kind: when.isoformat()}}}
    await ctx.client.merge_patch(kinds.PVC, namespace, naming.instance_volume(instance), patch)


async def remove(ctx: Context, namespace: str, instance: str) -> None:
    """Remove the mark of one instance: it has no data to start from."""
    patch = {"metadata": {"annotations": {PAUSED: None}}}
    with suppress(NotFound):
        await ctx.client.merge_patch(kinds.PVC, namespace, naming.instance_volume(instance), patch)


async def clear(ctx: Context, namespace: str, observed: Observed) -> None:
    """Remove all marks from the claims of the cluster."""
    for claim in observed.volumes:
        marks = {name: None for name in (PAUSED, LAST) if name in annotations_of(claim)}
        if marks:
            patch = {"metadata": {"annotations": marks}}
            await ctx.client.merge_patch(kinds.PVC, namespace, name_of(claim), patch)
