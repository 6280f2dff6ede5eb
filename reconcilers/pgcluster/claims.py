"""Act: the volume claims. They have no owner, outlive the custom resource, grow and never shrink."""

from collections.abc import Iterable
from typing import Any

from pgoperator import labels
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.apply import ForeignOwner
from pgoperator.kube.compare import quantity
from pgoperator.kube.errors import Forbidden, Invalid, NotFound
from pgoperator.kube.manifest import Manifest, labels_of, name_of
from reconcilers.pgcluster.problems import Problem

# How a claim tells that a change of its volume is under way.
_UNDER_WAY = {
    "Resizing": "its volume is being made larger",
    "FileSystemResizePending": "its file system will grow; some drivers wait for a restart of the pod",
    "ModifyingVolume": "its volume is being changed",
}


async def apply(ctx: Context, claims: Iterable[Manifest]) -> list[Problem]:
    """Write the claims that differ; what cannot be as it is asked for keeps nothing else from being done.

    ForeignOwner when somebody else's claim has the name of one for sidecars.
    """
    found = []
    for claim in claims:
        name, namespace = name_of(claim), claim["metadata"]["namespace"]
        stored = ctx.store.get(kinds.PVC, namespace, name)
        if stored is None and await _is_foreign(ctx, claim):
            raise ForeignOwner(f"volume claim {name!r} is there already, and is not the cluster's")
        wanted, present = _request(claim), _request(stored or {})
        shrinks = stored is not None and _shrinks(stored, wanted)
        if shrinks:
            message = f"volume claim {name} cannot shrink from {present} to {wanted}: it stays as it is"
            found.append(Problem("VolumeShrinks", message))
        try:
            await ctx.applier.apply(_with_request(claim, present) if shrinks else claim, None)
        except (Invalid, Forbidden) as error:
            what = f"grow from {present} to {wanted}" if _grows(present, wanted) else "be as the spec asks"
            found.append(Problem("VolumeRefused", f"volume claim {name} cannot {what}: {error}"))
    return found


async def _is_foreign(ctx: Context, claim: Manifest) -> bool:
    """Whether a claim of a sidecar exists, and nobody said that it is the cluster's.

    Names of our own making are taken over: that is how data come back.
    """
    own = labels_of(claim)
    if own.get(labels.ROLE) != labels.ROLE_SIDECAR:
        return False
    try:
        live = await ctx.client.get(kinds.PVC, claim["metadata"]["namespace"], name_of(claim))
    except NotFound:
        return False
    return labels_of(live).get(labels.CLUSTER) != own[labels.CLUSTER]


def _request(claim: Manifest) -> Any:
    return ((claim.get("spec", {}).get("resources") or {}).get("requests") or {}).get("storage")


def _with_request(claim: Manifest, size: Any) -> Manifest:
    resources = claim["spec"]["resources"]
    requests = {**resources["requests"], "storage": size}
    return claim | {"spec": claim["spec"] | {"resources": resources | {"requests": requests}}}


def _grows(present: Any, wanted: Any) -> bool:
    one, other = quantity(present), quantity(wanted)
    return one is not None and other is not None and other > one


def _shrinks(stored: Manifest, wanted: Any) -> bool:
    """Whether less is asked for than before, and than there is: a growth that failed may be taken back."""
    there = (stored.get("status", {}).get("capacity") or {}).get("storage")
    return _grows(wanted, _request(stored)) and (there is None or _grows(wanted, there))


def resizing(claims: Iterable[Manifest]) -> list[tuple[str, str]]:
    """What claims tell of changes under way: the word, and a sentence."""
    return [
        (condition["type"], f"volume claim {name_of(claim)}: {_UNDER_WAY[condition['type']]}")
        for claim in claims
        for condition in claim.get("status", {}).get("conditions") or []
        if condition["status"] == "True" and condition["type"] in _UNDER_WAY
    ]
