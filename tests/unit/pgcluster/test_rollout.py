"""Which instance a rolling change takes next, in every situation that it may find."""

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from pgoperator import labels, naming
from pgoperator.kube.manifest import Manifest
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.rollout import decide_rolling_update
from reconcilers.pgcluster.rollout.decide_rolling_update import HandOver, Restart
from reconcilers.pgcluster.state.view import Restoring, View
from tests.support.views import CLAIM, NAMESPACE, NOW, view
from tests.unit.pgcluster.observed import bootstrapped, endpoints, instance_pod, leader, stateful_set

A, B, C = sorted(p.name for p in view().planned)
PULL = [
    {
        "name": "database",
        "ready": False,
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no"}},
    }
]

RECREATED = NOW - timedelta(minutes=30)
ACCOUNT: Manifest = {
    "apiVersion": "v1",
    "kind": "ServiceAccount",
    "metadata": {
        "name": naming.instance_account("cluster1"),
        "namespace": NAMESPACE,
        "labels": labels.of_cluster("cluster1"),
        "creationTimestamp": RECREATED.isoformat(),
    },
}
RENEWED_LATE = {"renewTime": (RECREATED + timedelta(minutes=1)).isoformat()}


@dataclass
class World:
    """Three instances of the old template, the first of them the primary; fields say what is different."""

    primary: str | None = A
    new: tuple[str, ...] = ()
    """Whose pods are of the new template."""
    unknown: tuple[str, ...] = ()
    """Whose StatefulSets Kubernetes has not yet looked at again."""
    down: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    stopping: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    old: tuple[str, ...] = ()
    """Whose pods were made long ago."""
    names: tuple[str, ...] = (A, B, C)
    extra: tuple[str, ...] = ()
    synchronous: str = ""
    location: dict[str, int] = field(default_factory=dict)
    lock: dict[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    """Whose pods are older than their ServiceAccount."""

    def objects(self) -> list[Manifest]:
        result: list[Manifest] = [bootstrapped()]
        if self.refused:
            result.append(ACCOUNT)
        if self.primary is not None:
            result.append(leader(self.primary, **self.lock))
        if self.synchronous:
            facts = {"leader": naming.pod(A), "sync_standby": self.synchronous}
            result.append(endpoints(naming.patroni_sync("cluster1"), facts))
        for name in (*self.names, *self.extra):
            result += [self._set(name), *([] if name in self.absent else [self._pod(name)])]
        return result

    def _set(self, name: str) -> Manifest:
        manifest = stateful_set(name)
        manifest["metadata"]["generation"] = 2
        seen = 1 if name in self.unknown else 2
        manifest["status"] = {"observedGeneration": seen, "updateRevision": f"{name}-new"}
        return manifest

    def _pod(self, name: str) -> Manifest:
        role, state = ("primary", "running") if name == self.primary else ("replica", "streaming")
        made = NOW - timedelta(days=1) if name in self.old else NOW - timedelta(minutes=1)
        if name in self.refused:
            made = RECREATED - timedelta(minutes=1)
        more = {"deletionTimestamp": NOW.isoformat()} if name in self.stopping else {}
        pod = instance_pod(
            name,
            role,
            state,
            ready=name not in (*self.down, *self.broken),
            containers=PULL if name in self.broken else None,
            creationTimestamp=made.isoformat(),
            **more,
        )
        pod["spec"] = {"serviceAccountName": ACCOUNT["metadata"]["name"]}
        pod["metadata"]["labels"][labels.REVISION] = f"{name}-{'new' if name in self.new else 'old'}"
        says = pod["metadata"]["annotations"]
        says["status"] = says["status"].replace("42", str(self.location.get(name, 42)))
        return pod

    def view(self) -> View:
        sets = [{"name": "instance1", "replicas": len(self.names), "dataVolumeClaimSpec": CLAIM}]
        return view(self.objects(), instances=sets)


def step(world: World) -> object:
    one = world.view()
    serving = frozenset(i.name for i in one.observed.instances if i.is_ready)
    return decide_rolling_update.next_step(one, serving)


def restart(name: str, *, is_primary: bool = False) -> Restart:
    return Restart(name, f"uid-of-{naming.pod(name)}", is_primary)


SITUATIONS: dict[str, tuple[World, object]] = {
    "nothing changed": (World(new=(A, B, C)), None),
    "Kubernetes has not looked yet": (World(unknown=(A, B, C)), None),
    "replicas by name": (World(), restart(B)),
    "the primary may be any": (World(primary=B), restart(A)),
    "one after the other": (World(new=(B,)), restart(C)),
    "only the primary's template changed": (World(new=(B, C)), HandOver(A, C)),
    "the one with most data takes over": (World(new=(B, C), location={B: 50}), HandOver(A, B)),
    "a synchronous one takes over": (
        World(new=(B, C), location={B: 50}, synchronous=naming.pod(C)),
        HandOver(A, C),
    ),
    "the old primary is the last": (World(primary=C, new=(B, C)), restart(A)),
    "alone": (World(names=(A,)), restart(A, is_primary=True)),
    "of the same set, unchanged instances stay": (World(new=(A, C)), restart(B)),
    "a broken pod is replaced first": (World(broken=(C,)), restart(C)),
    "a broken pod is replaced although another is new and not ready": (
        World(new=(B,), down=(B,), broken=(C,)),
        restart(C),
    ),
    "one that has not served for long is replaced": (World(down=(C,), old=(C,)), restart(C)),
    "alone and broken": (World(names=(A,), broken=(A,)), restart(A, is_primary=True)),
    "all broken: the leader last": (World(broken=(A, B, C)), restart(B)),
    "tokens are refused: the holder of the lock last": (World(refused=(A, B, C), new=(A, B, C)), restart(B)),
    "the holder of the lock renews it: its token is good": (
        World(refused=(A,), new=(A, B, C), lock=RENEWED_LATE),
        None,
    ),
    "tokens are refused, although none is ready": (
        World(refused=(A, B, C), new=(A, B, C), down=(A, B, C)),
        restart(B),
    ),
    "tokens are refused: the next": (World(refused=(A, C), new=(A, B, C)), restart(C)),
    "tokens are refused: the last one leads no more": (
        World(refused=(A,), new=(A, B, C), primary=B),
        restart(A),
    ),
    "tokens are refused, alone": (World(refused=(A,), names=(A,)), restart(A)),
    "the token of one is refused before another gets its template": (World(refused=(C,)), restart(C)),
    "one that returns with a token is broken": (
        World(refused=(A, C), new=(A, B, C), broken=(B,)),
        restart(C),
    ),
    "all broken, only the leader is left": (
        World(broken=(A, B, C), new=(B, C)),
        restart(A, is_primary=True),
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_step(situation: str) -> None:
    world, expected = SITUATIONS[situation]
    assert step(world) == expected


WAITS: dict[str, tuple[World, str]] = {
    "the new pod is not ready": (World(new=(B,), down=(B,)), naming.pod(B)),
    "the new template is broken": (World(new=(B,), broken=(B,)), naming.pod(B)),
    "the new pod is not there yet": (World(absent=(B,)), naming.pod(B)),
    "a pod stops": (World(stopping=(B,)), "to stop"),
    "a pod stops, though another is broken": (World(stopping=(B,), broken=(C,)), "to stop"),
    "another replica is not well": (World(new=(B, C), down=(C,)), naming.pod(C)),
    "an old one starts": (World(down=(C,)), naming.pod(C)),
    "the primary is broken, a replica can take over": (World(broken=(A,)), naming.pod(A)),
    "some are not known yet": (World(unknown=(B, C)), "observe the new pod template"),
    "nobody leads": (World(primary=None), "waiting for a primary"),
    "instances are too many": (World(extra=("cluster1-instance1-zzzz",)), "surplus instances to be removed"),
    "no replica is synchronous": (World(new=(B, C), synchronous="nobody"), "synchronous"),
}


@pytest.mark.parametrize("situation", WAITS)
def test_wait(situation: str) -> None:
    world, words = WAITS[situation]
    found = step(world)
    assert isinstance(found, Wait)
    assert words in found.reason


@pytest.mark.parametrize("name", [B, C])
def test_a_ready_pod_is_never_taken_for_broken(name: str) -> None:
    """Whatever is known of its stream, and however old the pod: a second instance stays (finding H2)."""
    world = World(new=(B,), down=(B,), old=(A, B, C))
    not_following = {A, B, C} - {B, name}
    found = decide_rolling_update.next_step(world.view(), frozenset(not_following))
    assert isinstance(found, Wait)
    assert naming.pod(B) in found.reason


def test_after_an_hour_every_token_has_been_renewed() -> None:
    one = World(refused=(A, B, C), new=(A, B, C)).view()
    later = replace(one, now=NOW + timedelta(minutes=40))
    assert decide_rolling_update.next_step(one, frozenset()) is not None
    assert decide_rolling_update.next_step(later, frozenset({A, B, C})) is None


def test_a_restore_and_a_pause_suspend_it() -> None:
    one, all_of_them = World().view(), frozenset({A, B, C})
    assert decide_rolling_update.next_step(one, all_of_them) is not None
    restoring = replace(one, restoring=Restoring("r", "Replicas", A))
    assert decide_rolling_update.next_step(restoring, all_of_them) is None
    assert decide_rolling_update.next_step(replace(one, paused=True), all_of_them) is None


def test_a_rolling_change_ends_after_one_restart_of_each() -> None:
    """Played through: the steps of a healthy cluster, each with what it brings about."""
    world, steps = World(), []
    while (found := step(world)) is not None:
        steps.append(found)
        assert len(steps) < 10
        if isinstance(found, HandOver):
            world = replace(world, primary=found.candidate)
        else:
            assert isinstance(found, Restart)
            world = replace(world, new=(*world.new, found.instance))
    assert steps == [restart(B), restart(C), HandOver(A, C), restart(A)]


def test_progress_is_told_until_all_is_done() -> None:
    assert decide_rolling_update.progress(World(new=(B,)).view()).startswith("1 of 3 instances")
    assert "observe the new pod template" in decide_rolling_update.progress(
        World(unknown=(A,), new=(B, C)).view()
    )
    assert decide_rolling_update.progress(World(new=(A, B, C)).view()) == ""
