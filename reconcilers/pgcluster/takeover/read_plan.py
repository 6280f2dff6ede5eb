"""Read a cluster of Percona's operator and plan its takeover. Writes nothing."""

from datetime import datetime

from pgoperator.errors import OperatorError
from pgoperator.kube.client import Client
from pgoperator.kube.manifest import uid_of
from pgoperator.settings import Settings
from reconcilers.pgcluster.lifecycle import decide_hands_off
from reconcilers.pgcluster.takeover import (
    decide_features,
    decide_health,
    decide_objects,
    decide_owner,
    read_rehearsal,
    read_snapshot,
)
from reconcilers.pgcluster.takeover.plan import Plan, Rehearsal, Snapshot


class NothingToTakeOver(OperatorError):  # noqa: N818 - the name states the fact
    """The cluster does not belong to another operator."""


async def plan(client: Client, settings: Settings, namespace: str, name: str, now: datetime) -> Plan:
    """Plan the takeover of one cluster; NothingToTakeOver for a cluster that is nobody else's."""
    snapshot = await read_snapshot.read(client, namespace, name)
    objects = snapshot.all_of(*decide_owner.OWNED)
    if not decide_hands_off.evidence(snapshot.cluster, objects):
        message = f"PerconaPGCluster {namespace}/{name} belongs to no other operator: nothing to take over"
        raise NothingToTakeOver(message)
    return assemble(snapshot, await read_rehearsal.rehearse(client, settings, snapshot, now))


def assemble(snapshot: Snapshot, rehearsal: Rehearsal) -> Plan:
    """Everything that was found, as one plan."""
    owner = decide_owner.inner_owner(snapshot)
    return Plan(
        namespace=snapshot.namespace,
        name=snapshot.name,
        uid=uid_of(snapshot.cluster),
        owner=f"{owner['kind']} {owner['name']} ({owner['apiVersion']}, uid {owner['uid']})"
        if owner
        else "-",
        cr_version=str(snapshot.cluster["spec"].get("crVersion") or ""),
        entries=tuple(decide_objects.entries(snapshot, rehearsal)),
        restarts=tuple(decide_objects.restarts(rehearsal)),
        differences=tuple(decide_features.differences(snapshot)),
        blockers=(
            *decide_owner.blockers(snapshot),
            *decide_features.blockers(snapshot),
            *decide_health.blockers(snapshot, rehearsal.observed),
            *decide_objects.blockers(snapshot, rehearsal),
        ),
        complete=rehearsal.complete,
    )
