"""What becomes of each object, and which pods restart. Pure.

The API server has answered what each object would be after a write in the name of Percona's operator: so
fields of that operator go, as they do once its ownership of the fields has been taken over.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pgoperator import naming
from pgoperator.kube import kinds
from pgoperator.kube.compare import digest
from pgoperator.kube.manifest import Key, Manifest, controller_of, files_of, key_of, name_of
from reconcilers.pgcluster.takeover import decide_owner
from reconcilers.pgcluster.takeover.plan import Blocker, Entry, Outcome, Rehearsal, Snapshot

WORKLOADS = (kinds.STATEFUL_SET.kind, kinds.DEPLOYMENT.kind)
TEMPLATE = "spec.template"
_UNCOMPARED = ("apiVersion", "kind", "metadata", "status")
_PARTS = ("containers", "initContainers", "volumes")


def entries(snapshot: Snapshot, rehearsal: Rehearsal) -> list[Entry]:
    """What becomes of every object of the cluster, by kind and name."""
    found = [_of_outcome(snapshot, outcome) for outcome in rehearsal.outcomes]
    found += _of_secrets(snapshot, rehearsal.secrets)
    if not rehearsal.complete:
        return sorted(found, key=lambda entry: (entry.kind, entry.name))  # the others may be wanted, too
    covered = {(entry.kind, entry.name) for entry in found}
    for one in snapshot.all_of(*decide_owner.OWNED, kinds.PVC):
        if (one["kind"], name_of(one)) in covered:
            continue
        if decide_owner.is_theirs(snapshot, one):
            found.append(Entry("remove", one["kind"], name_of(one)))
        else:
            found.append(Entry("leave", one["kind"], name_of(one)))
    return sorted(found, key=lambda entry: (entry.kind, entry.name))


def _of_outcome(snapshot: Snapshot, outcome: Outcome) -> Entry:
    kind, name = outcome.desired["kind"], name_of(outcome.desired)
    content = digest(outcome.desired)
    if outcome.stored is None:
        return Entry("create", kind, name, content=content)
    changes = tuple(changed(outcome.stored, outcome.after)) if outcome.after is not None else ()
    if decide_owner.is_theirs(snapshot, outcome.stored):
        return Entry("adopt", kind, name, changes, content)
    return Entry("change" if changes else "keep", kind, name, changes, content)


def _of_secrets(snapshot: Snapshot, after: Mapping[str, Mapping[str, bytes]]) -> Iterator[Entry]:
    for name, data in sorted(after.items()):
        stored = snapshot.get(kinds.SECRET, name)
        if stored is None:
            yield Entry("create", kinds.SECRET.kind, name)
            continue
        old = files_of(stored)
        changes = tuple(sorted(key for key in old.keys() | data.keys() if old.get(key) != data.get(key)))
        if decide_owner.is_theirs(snapshot, stored):
            yield Entry("adopt", kinds.SECRET.kind, name, changes)
        else:
            yield Entry("change" if changes else "keep", kinds.SECRET.kind, name, changes)


def changed(before: Manifest, after: Manifest) -> list[str]:
    """What differs: labels and annotations with `+`, `-` or `~`, keys of data, two levels of the rest."""
    paths: list[str] = []
    for word, section in (("label", "labels"), ("annotation", "annotations")):
        old, new = (one["metadata"].get(section) or {} for one in (before, after))
        for key in _differing(old, new):
            sign = "+" if key not in old else "-" if key not in new else "~"
            paths.append(f"{sign}{word} {key}")
    for top in sorted((before.keys() | after.keys()) - set(_UNCOMPARED)):
        old, new = before.get(top) or {}, after.get(top) or {}
        if isinstance(old, dict) and isinstance(new, dict):
            paths += [f"{top}.{key}" for key in _differing(old, new)]
        elif old != new:
            paths.append(top)
    return paths


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]


def blockers(snapshot: Snapshot, rehearsal: Rehearsal) -> list[Blocker]:
    """Objects that would not become this operator's as a whole."""
    step = "correct the PerconaPGCluster while the present operator runs it, and plan again"
    found = [Blocker(text, step) for text in rehearsal.obstacles]
    for outcome in rehearsal.outcomes:
        found += _of_one(snapshot, outcome)
    return found


def _of_one(snapshot: Snapshot, outcome: Outcome) -> Iterator[Blocker]:
    title = f"{outcome.desired['kind']} {name_of(outcome.desired)}"
    if outcome.after is None:
        yield Blocker(
            f"the API server refuses {title} as this operator would write it: {outcome.refusal}",
            "a field that cannot change must have this operator's value first; a quota must leave room",
        )
        return
    owner = controller_of(outcome.stored) if outcome.stored is not None else None
    if (
        outcome.stored is not None
        and owner is not None
        and not decide_owner.is_theirs(snapshot, outcome.stored)
    ):
        yield Blocker(f"{title} belongs to {owner['kind']} {owner['name']}", "rename or remove the object")
    if outcome.desired["kind"] in WORKLOADS and outcome.stored is not None:
        yield from _of_template(title, outcome)


def _of_template(title: str, outcome: Outcome) -> Iterator[Blocker]:
    """Parts of a pod that would stay Percona's, and images that would change with it."""
    desired, after, stored = (_pod(one) for one in (outcome.desired, outcome.after, outcome.stored))
    for part in _PARTS:
        names = {one["name"] for one in desired.get(part) or ()}
        for kept in (one["name"] for one in after.get(part) or () if one["name"] not in names):
            yield Blocker(
                f"{title} would keep {kept!r} in {part}: neither operator wrote it",
                "remove what another client has added, for example with kubectl edit",
            )
    running = {one["name"]: one["image"] for one in stored.get("containers") or ()}
    for one in desired.get("containers") or ():
        if (image := running.get(one["name"], one["image"])) != one["image"]:
            yield Blocker(
                f"{title} runs {image} in container {one['name']!r}, and would run {one['image']}",
                "name the running image in the PerconaPGCluster: a takeover changes no version",
            )


def _pod(workload: Manifest | None) -> Manifest:
    template: Manifest = (workload or {}).get("spec", {}).get("template", {}).get("spec", {})
    return template


def restarts(rehearsal: Rehearsal) -> list[str]:
    """What restarts, in this order; an object whose template stays restarts nothing."""
    observed = rehearsal.observed
    changing = {
        key_of(o.desired)
        for o in rehearsal.outcomes
        if o.stored is not None and o.after is not None and TEMPLATE in changed(o.stored, o.after)
    }
    hosts = [_pod_of(observed.repo_host)] if _is_in(changing, observed.repo_host) else []
    found = [f"{pod}: WAL waits on the primary meanwhile" for pod in hosts]
    poolers = sorted(map(name_of, observed.pooler_pods))
    if any(key.kind == kinds.DEPLOYMENT.kind for key in changing):
        found += [f"{pod}: its open sessions end" for pod in poolers]
    instances = [i for i in observed.instances if _is_in(changing, i.stateful_set)]
    primary = observed.primary
    replicas = [i for i in instances if primary is None or i.name != primary.name]
    found += [f"{i.pod_name}: a replica" for i in replicas]
    if primary is not None and primary in instances:
        what = (
            "the primary, after a switchover"
            if len(observed.instances) > 1
            else "the primary: no writes meanwhile"
        )
        found.append(f"{primary.pod_name}: {what}")
    return found


def _is_in(changing: set[Key], workload: Manifest | None) -> bool:
    return workload is not None and key_of(workload) in changing


def _pod_of(stateful_set: Manifest | None) -> str:
    return naming.pod(name_of(stateful_set)) if stateful_set is not None else ""
