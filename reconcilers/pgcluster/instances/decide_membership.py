"""Which instances should exist: a pure decision, from the spec and from the existing instances.

Scaling up uses names that already have a data volume, then new names; a volume that a restore has superseded
is not used again. Scaling down never removes the primary and keeps streaming replicas first, of these the
synchronous one; it waits for replicas that are still catching up (`act_scale_down`), so that the choice does
not depend on the moment.
"""

from collections.abc import Mapping, Sequence
from itertools import islice

from pgoperator import labels, naming
from pgoperator.kube.manifest import Manifest, annotations_of, labels_of, name_of
from reconcilers.pgcluster.state import primary_mark
from reconcilers.pgcluster.state.superseded import is_superseded
from reconcilers.pgcluster.state.view import PRIMARY_ROLES, Instance, Observed, Planned


def planned(cluster: str, sets: Mapping[str, int], observed: Observed) -> tuple[Planned, ...]:
    """The instances that should exist, by set in the order of the spec.

    `sets` maps the name of each set to its number of replicas; `cluster` is the cluster's name.
    """
    result: list[Planned] = []
    last = primary_mark.marked(observed)
    for set_name, replicas in sets.items():
        existing = [i for i in observed.instances if i.set_name == set_name and i.stateful_set is not None]
        kept = sorted(existing, key=lambda i: (i.name == last, _rank(observed, i)), reverse=True)[:replicas]
        names = [instance.name for instance in kept]
        if len(names) < replicas:
            taken = {instance.name for instance in existing}
            fresh = (
                n for n in _candidates(cluster, set_name, observed.volumes, replicas, last) if n not in taken
            )
            names += islice(fresh, replicas - len(names))
        result += [Planned(name, set_name) for name in sorted(names)]
    return tuple(result)


def _candidates(
    cluster: str, set_name: str, volumes: Sequence[Manifest], replicas: int, last: str
) -> list[str]:
    """Names for new instances: the marked instance, those with a data volume, then new names."""
    usable = {
        naming.instance_of_volume(name_of(volume)): not is_superseded(volume)
        for volume in volumes
        if labels_of(volume).get(labels.INSTANCE_SET) == set_name
    }
    with_data = [name for name, is_usable in usable.items() if is_usable or name == last]
    new = (name for name in naming.instance_names(cluster, set_name) if name not in usable)
    return sorted(with_data, key=lambda name: (name != last, name)) + list(islice(new, 2 * replicas))


def _rank(observed: Observed, instance: Instance) -> tuple[bool, bool, bool, bool, bool, int, str]:
    """Sort key for scaling down: the greatest instances are kept.

    Without its synchronous standby, a primary would confirm no commit until Patroni has chosen another one.
    """
    synchronous = annotations_of(observed.sync).get("sync_standby", "") if observed.sync else ""
    return (
        instance.is_primary,
        instance.member.streams,
        instance.pod_name in (synchronous or "").split(","),
        instance.is_ready,
        instance.pod is not None,
        instance.member.location,
        instance.name,
    )


def surplus(observed: Observed, planned_names: set[str]) -> list[Instance]:
    """Existing instances that are not planned, in the order of their removal."""
    extra = [i for i in observed.instances if i.stateful_set is not None and i.name not in planned_names]
    return sorted(extra, key=lambda instance: _rank(observed, instance))


def catching_up(observed: Observed) -> list[str]:
    """Names of the pods of replicas that run but do not stream yet."""
    return [
        instance.pod_name
        for instance in observed.instances
        if instance.member.state in ("creating replica", "starting", "running", "in archive recovery")
        and not instance.is_primary
        and instance.member.role not in PRIMARY_ROLES
        and not instance.member.streams
    ]
