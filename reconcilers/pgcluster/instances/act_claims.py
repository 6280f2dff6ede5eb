"""Act: write the volume claims. They have no owner, outlive the custom resource, and never shrink."""

from collections.abc import Iterable
from typing import Any

from pgoperator import labels
from pgoperator.context import Context
from pgoperator.kube import kinds
from pgoperator.kube.apply import ForeignOwner
from pgoperator.kube.compare import quantity
from pgoperator.kube.errors import Forbidden, Invalid, NotFound
from pgoperator.kube.manifest import Manifest, labels_of, name_of
from reconcilers.pgcluster.state.findings import Problem


async def apply(ctx: Context, claims: Iterable[Manifest]) -> list[Problem]:
    """Write the claims that differ; return a Problem for each refused change, and apply the others.

    Raises ForeignOwner when a claim for sidecars has the name of a claim that is not the cluster's.
    """
    problems = []
    for claim in claims:
        name, namespace = name_of(claim), claim["metadata"]["namespace"]
        stored = ctx.store.get(kinds.PVC, namespace, name)
        await _refuse_foreign(ctx, claim, stored)
        new_size, old_size = _request(claim), _request(stored or {})
        shrinks = stored is not None and _shrinks(stored, new_size)
        if shrinks:
            message = f"volume claim {name} cannot shrink from {old_size} to {new_size}: it keeps its size"
            problems.append(Problem("VolumeShrinks", message))
        try:
            await ctx.applier.apply(_with_request(claim, old_size) if shrinks else claim, None)
        except (Invalid, Forbidden) as error:
            # Kubernetes fills in the default class: a claim without a class has not changed it.
            if stored is not None and _class(claim) and _class(stored) != _class(claim):
                problems.append(await _other_class(ctx, claim, stored))
                continue
            grows = _grows(old_size, new_size)
            change = f"be expanded from {old_size} to {new_size}" if grows else "be changed to match the spec"
            problems.append(Problem("VolumeRefused", f"volume claim {name} cannot {change}: {error}"))
    return problems


async def _other_class(ctx: Context, claim: Manifest, stored: Manifest) -> Problem:
    """Why a claim has another storage class than the spec; a claim that never had a volume is deleted.

    It is empty, so that nothing is lost. A later pass creates it again, with the class of the spec.
    """
    name, old, new = name_of(claim), _class(stored), _class(claim)
    if stored.get("status", {}).get("phase") == "Pending" and not stored["spec"].get("volumeName"):
        metadata = stored["metadata"]
        await ctx.client.delete(
            kinds.PVC,
            metadata["namespace"],
            name,
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
        )
        message = (
            f"volume claim {name} is created again, because its storage class changes from {old} to {new}"
        )
        return Problem("VolumeReplaced", f"{message} and it never had a volume")
    return Problem(
        "VolumeRefused",
        f"the storage class of volume claim {name} cannot change from {old} to {new}: set it back, or move "
        "to an instance set of another name with the new class",
    )


async def _refuse_foreign(ctx: Context, claim: Manifest, stored: Manifest | None) -> None:
    """Raise ForeignOwner for a claim without the cluster's label.

    It would be mounted, and deleted with the cluster. A cluster that is created again finds its claims by
    their label.
    """
    name, namespace, own = name_of(claim), claim["metadata"]["namespace"], labels_of(claim)[labels.CLUSTER]
    try:
        present = stored or await ctx.client.get(kinds.PVC, namespace, name)
    except NotFound:
        return
    if labels_of(present).get(labels.CLUSTER) != own:
        raise ForeignOwner(
            f"volume claim {name!r} exists and lacks the label {labels.CLUSTER}={own}: use another name for "
            "the cluster or in sidecarPVCs, or set the label if the claim is for this cluster"
        )


def _class(claim: Manifest) -> str:
    return str(claim["spec"].get("storageClassName") or "")


def _request(claim: Manifest) -> Any:
    return ((claim.get("spec", {}).get("resources") or {}).get("requests") or {}).get("storage")


def _with_request(claim: Manifest, size: Any) -> Manifest:
    resources = claim["spec"]["resources"]
    requests = {**resources["requests"], "storage": size}
    return claim | {"spec": claim["spec"] | {"resources": resources | {"requests": requests}}}


def _grows(old_size: Any, new_size: Any) -> bool:
    old, new = quantity(old_size), quantity(new_size)
    return old is not None and new is not None and new > old


def _shrinks(stored: Manifest, new_size: Any) -> bool:
    """Whether the new size is below both request and capacity: a failed expansion may be reverted."""
    capacity = (stored.get("status", {}).get("capacity") or {}).get("storage")
    return _grows(new_size, _request(stored)) and (capacity is None or _grows(new_size, capacity))
