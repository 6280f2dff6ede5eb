"""Which instances shall exist: a pure decision, from the CR and from what exists now.

Growing takes names that have data already, then new ones; shrinking never takes the primary and prefers to
keep members that stream. A replica that is still catching up makes shrinking wait, so that the choice falls
on facts and not on a moment.
"""

from collections.abc import Mapping, Sequence
from itertools import islice

from pgoperator import labels, naming
from pgoperator.kube.manifest import Manifest, labels_of, name_of
from reconcilers.pgcluster import pausing
from reconcilers.pgcluster.view import PRIMARY_ROLES, Instance, Observed, Planned


def planned(cluster: str, sets: Mapping[str, int], observed: Observed) -> tuple[Planned, ...]:
    """The instances that shall exist, by set in the order of the CR.

    `sets` maps the name of each set to its number of replicas.
    """
    result: list[Planned] = []
    for set_name, replicas in sets.items():
        existing = [i for i in observed.instances if i.set_name == set_name and i.stateful_set is not None]
        last = pausing.marked(observed.volumes)
        kept = sorted(existing, key=lambda i: (i.name == last, _worth(i)), reverse=True)[:replicas]
        names = [instance.name for instance in kept]
        if len(names) < replicas:
            taken = {instance.name for instance in existing}
            fresh = (n for n in _candidates(cluster, set_name, observed.volumes, replicas) if n not in taken)
            names += islice(fresh, replicas - len(names))
        result += [Planned(name, set_name) for name in sorted(names)]
    return tuple(result)


def _candidates(cluster: str, set_name: str, volumes: Sequence[Manifest], replicas: int) -> list[str]:
    """Names for new instances: those that have a data volume already, then fresh ones."""
    with_data = [
        naming.instance_of_volume(name_of(volume))
        for volume in volumes
        if labels_of(volume).get(labels.INSTANCE_SET) == set_name
    ]
    fresh = [
        name
        for name in islice(naming.instance_names(cluster, set_name), 2 * replicas)
        if name not in with_data
    ]
    return sorted(with_data) + fresh


def _worth(instance: Instance) -> tuple[bool, bool, bool, bool, int, str]:
    """How much an instance is worth keeping when there are too many; greater is kept."""
    return (
        instance.is_primary,
        instance.member.streams,
        instance.is_ready,
        instance.pod is not None,
        instance.member.location,
        instance.name,
    )


def surplus(observed: Observed, planned_names: set[str]) -> list[Instance]:
    """Existing instances that the plan has no place for, the least valuable first."""
    extra = [i for i in observed.instances if i.stateful_set is not None and i.name not in planned_names]
    return sorted(extra, key=_worth)


def catching_up(observed: Observed) -> list[str]:
    """Replicas whose process runs but which do not stream yet."""
    return [
        instance.pod_name
        for instance in observed.instances
        if instance.member.state in ("creating replica", "starting", "running", "in archive recovery")
        and not instance.is_primary
        and instance.member.role not in PRIMARY_ROLES
        and not instance.member.streams
    ]
