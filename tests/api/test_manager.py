"""A whole operator with toy controllers against a real API server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from local.control_plane import Handle
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube.client import Client
from pgoperator.kube.errors import NotFound
from pgoperator.kube.kinds import CONFIG_MAP, EVENT, LEASE, SECRET
from pgoperator.kube.lease import LeaseLost
from pgoperator.kube.manifest import Key, Manifest
from pgoperator.runtime.controller import Controller
from pgoperator.runtime.manager import Manager
from pgoperator.runtime.result import Done, Result, Wait
from pgoperator.runtime.source import Watch
from pgoperator.settings import LeaseSettings, Settings
from tests.api.conftest import audit, create_namespace, eventually
from tests.api.test_watch import config_map
from tests.support.proxy import TcpProxy

pytestmark = pytest.mark.api
Reconcile = Callable[[Context, Key], Awaitable[Result]]


def settings(*namespaces: str) -> Settings:
    lease = LeaseSettings(True, "the-lease", duration=1.5, renew_deadline=1.0, retry_period=0.1)
    return Settings(namespaces=namespaces, operator_namespace=namespaces[0], lease=lease)


def controller(reconcile: Reconcile, *watches: Watch, name: str = "toy", workers: int = 3) -> Controller:
    own = Watch(
        CONFIG_MAP,
        lambda m: [Key("ConfigMap", m["metadata"]["namespace"], m["metadata"]["name"])],
        "test=yes",
    )
    return Controller(name, CONFIG_MAP, reconcile, (own, *watches), workers=workers)


@asynccontextmanager
async def running(manager: Manager) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    task = asyncio.create_task(manager.run(stop))
    try:
        yield stop
    finally:
        stop.set()
        async with asyncio.timeout(25):
            await task


async def test_a_change_becomes_a_pass(client: Client, namespace: str) -> None:
    seen: list[str] = []

    async def reconcile(context: Context, key: Key) -> Result:
        stored = context.store.get(CONFIG_MAP, key.namespace, key.name)
        seen.append(f"{key.name} {stored['data'] if stored else None}")
        return Done()

    async with running(Manager(settings(namespace), client, [controller(reconcile)])):
        await client.create(config_map(namespace, "a", x="1"))
        await eventually(lambda: seen == ["a {'x': '1'}"], "created")
        await client.delete(CONFIG_MAP, namespace, "a", uid=None)
        await eventually(lambda: seen == ["a {'x': '1'}", "a None"], "deleted")
    lease = await client.get(LEASE, namespace, "the-lease")
    assert not lease["spec"].get("holderIdentity")


async def test_a_slow_and_a_failing_object_delay_nobody(client: Client, namespace: str) -> None:
    passes: dict[str, int] = {}

    async def reconcile(context: Context, key: Key) -> Result:
        passes[key.name] = passes.get(key.name, 0) + 1
        if key.name == "slow":
            await asyncio.sleep(60)
        if key.name == "failing":
            raise RuntimeError("toy")
        if key.name == "hopeless":
            raise InvalidSpec("toy")
        return Wait("not yet", 0.05) if key.name == "waiting" and passes["waiting"] < 3 else Done()

    manager = Manager(settings(namespace), client, [controller(reconcile)], finish=0.2)
    async with running(manager):
        for name in ("slow", "failing", "hopeless", "waiting", "good"):
            await client.create(config_map(namespace, name))
        await eventually(lambda: passes.get("waiting", 0) == 3 and passes.get("good", 0) == 1, "the others")
        await eventually(lambda: passes.get("failing", 0) > 3, "retried")
        assert passes["hopeless"] == 1
        await client.merge_patch(CONFIG_MAP, namespace, "hopeless", {"data": {"x": "1"}})
        await eventually(lambda: passes["hopeless"] == 2, "tried again after a change")


async def test_passes_are_finished_at_the_end_while_the_lease_is_held(client: Client, namespace: str) -> None:
    states: list[str] = []

    async def reconcile(context: Context, key: Key) -> Result:
        states.append("begun")
        await asyncio.sleep(2)
        lease = await client.get(LEASE, namespace, "the-lease")
        states.append("held" if lease["spec"].get("holderIdentity") else "lost")
        return Done()

    async with running(Manager(settings(namespace), client, [controller(reconcile)])) as stop:
        await client.create(config_map(namespace, "a"))
        await eventually(lambda: states == ["begun"], "begun")
        stop.set()
        await client.create(config_map(namespace, "too-late"))
    assert states == ["begun", "held"]


async def test_passes_that_do_not_end_are_cancelled(client: Client, namespace: str) -> None:
    states: list[str] = []

    async def reconcile(context: Context, key: Key) -> Result:
        states.append("begun")
        try:
            await asyncio.sleep(60)
        finally:
            states.append("cancelled")
        return Done()

    manager = Manager(settings(namespace), client, [controller(reconcile)], finish=0.1)
    async with running(manager) as stop:
        await client.create(config_map(namespace, "a"))
        await eventually(lambda: states == ["begun"], "begun")
        stop.set()
    assert states == ["begun", "cancelled"]


async def test_one_stream_for_controllers_that_watch_the_same(
    client: Client, namespace: str, control_plane: Handle
) -> None:
    seen: list[str] = []

    def named(name: str) -> Controller:
        async def reconcile(context: Context, key: Key) -> Result:
            seen.append(f"{name} {key.name}")
            return Done()

        return controller(reconcile, name=name)

    async with running(Manager(settings(namespace), client, [named("one"), named("two")])):
        await client.create(config_map(namespace, "a"))
        await eventually(lambda: sorted(seen) == ["one a", "two a"], "both are woken")
    assert [what for verb, what, *_ in audit(control_plane, namespace) if verb == "list"] == ["configmaps"]


async def test_only_the_watched_namespaces_are_seen(
    client: Client, namespace: str, control_plane: Handle
) -> None:
    other, third = namespace + "-b", namespace + "-c"
    for name in (other, third):
        await create_namespace(client, name)
    seen: list[str] = []

    async def reconcile(context: Context, key: Key) -> Result:
        assert context.store.get(CONFIG_MAP, third, key.name) is None
        seen.append(f"{key.namespace} {key.name}")
        return Done()

    # Before the start and while the operator runs; the third namespace comes first, so it is not just late.
    for place in (third, namespace, other):
        await client.create(config_map(place, "a"))
    of_all = reads(control_plane, None).count("list")
    async with running(Manager(settings(namespace, other), client, [controller(reconcile)])):
        await eventually(lambda: sorted(seen) == [f"{namespace} a", f"{other} a"], "two of three")
        for place in (third, namespace, other):
            await client.create(config_map(place, "b"))
        expected = [f"{place} {name}" for place in (namespace, other) for name in "ab"]
        await eventually(lambda: sorted(seen) == sorted(expected), "two of three again")
    assert sorted(seen) == sorted(expected)
    # The API server knows what the operator read: the two namespaces, and nothing else.
    assert all("list" in reads(control_plane, place) for place in (namespace, other))
    assert reads(control_plane, third) == []
    assert reads(control_plane, None).count("list") == of_all


def reads(control_plane: Handle, namespace: str | None) -> list[str]:
    """The lists and watches of ConfigMaps in a namespace, or in all of them at once."""
    return [
        verb
        for verb, resource, *_ in audit(control_plane, namespace)
        if resource == "configmaps" and verb in ("list", "watch")
    ]


async def test_secrets_of_strangers_are_not_kept(client: Client, namespace: str) -> None:
    async def reconcile(context: Context, key: Key) -> Result:
        return Done()

    for name, labels in (("ours", {"test": "yes"}), ("stranger", {})):
        meta = {"name": name, "namespace": namespace, "labels": labels}
        await client.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta})
    secrets = Watch(SECRET, lambda _: (), "test=yes")
    manager = Manager(settings(namespace), client, [controller(reconcile, secrets)])
    async with running(manager):
        await eventually(lambda: not manager.unready(), "synced")
        assert [key.name for key in manager.store.keys(SECRET)] == ["ours"]


async def test_a_bug_in_a_route_costs_its_event_only(client: Client, namespace: str) -> None:
    seen: list[str] = []

    def to_keys(manifest: Manifest) -> list[Key]:
        if manifest["metadata"]["name"] == "odd":
            raise KeyError("odd")
        return [Key("ConfigMap", namespace, manifest["metadata"]["name"])]

    async def reconcile(context: Context, key: Key) -> Result:
        seen.append(key.name)
        return Done()

    toy = Controller("toy", CONFIG_MAP, reconcile, (Watch(CONFIG_MAP, to_keys, "test=yes"),))
    async with running(Manager(settings(namespace), client, [toy])):
        await client.create(config_map(namespace, "odd"))
        await client.create(config_map(namespace, "even"))
        await eventually(lambda: seen == ["even"], "the other")


async def test_lost_lease_ends_everything(
    client: Client, wired: Client, proxy: TcpProxy, namespace: str
) -> None:
    states: list[str] = []

    async def reconcile(context: Context, key: Key) -> Result:
        states.append("begun")
        try:
            await asyncio.sleep(60)
        finally:
            states.append("cancelled")
        return Done()

    await client.create(config_map(namespace, "a"))
    manager = Manager(settings(namespace), wired, [controller(reconcile)])
    task = asyncio.create_task(manager.run(asyncio.Event()))
    await eventually(lambda: states == ["begun"], "begun")
    proxy.refuse()
    with pytest.raises(LeaseLost):
        async with asyncio.timeout(10):
            await task
    assert states == ["begun", "cancelled"]


async def test_after_a_lost_lease_no_pass_begins(
    client: Client, wired: Client, proxy: TcpProxy, namespace: str
) -> None:
    """Another process leads then: a worker that survives its cancellation must not get the next key."""
    begun: list[str] = []

    async def reconcile(context: Context, key: Key) -> Result:
        begun.append(key.name)
        with suppress(asyncio.CancelledError):  # as code does that handles errors too broadly
            await asyncio.sleep(60)
        return Done()

    for name in ("a", "b", "c"):
        await client.create(config_map(namespace, name))
    manager = Manager(settings(namespace), wired, [controller(reconcile, workers=1)])
    task = asyncio.create_task(manager.run(asyncio.Event()))
    await eventually(lambda: len(begun) == 1, "begun")
    proxy.refuse()
    with pytest.raises(LeaseLost):
        async with asyncio.timeout(10):
            await task
    assert len(begun) == 1


async def test_a_bug_releases_the_lease(client: Client, namespace: str) -> None:
    async def reconcile(context: Context, key: Key) -> Result:
        return Done()

    manager = Manager(settings(namespace), client, [controller(reconcile)])
    task = asyncio.create_task(manager.run(asyncio.Event()))

    async def holder() -> str:
        try:
            lease = await client.get(LEASE, namespace, "the-lease")
        except NotFound:
            return ""
        return str(lease["spec"].get("holderIdentity") or "")

    async def is_held() -> bool:
        return bool(await holder())

    def broken() -> None:
        raise RuntimeError("toy")

    await eventually(is_held, "it leads")
    await eventually(lambda: len(manager._working) > 0, "it works")
    manager.controllers[0].queue.take = broken  # type: ignore[method-assign]
    await client.create(config_map(namespace, "a"))
    with pytest.raises(RuntimeError):
        async with asyncio.timeout(10):
            await task
    assert not await is_held()


async def test_a_second_operator_waits_warm_and_takes_over(client: Client, namespace: str) -> None:
    seen: list[str] = []

    def manager(name: str) -> Manager:
        async def reconcile(context: Context, key: Key) -> Result:
            seen.append(name)
            return Done()

        return Manager(settings(namespace), client, [controller(reconcile)])

    await client.create(config_map(namespace, "a"))
    async with running(manager("one")) as stop:
        await eventually(lambda: seen == ["one"], "one leads")
        standby = manager("two")
        async with running(standby):
            await eventually(lambda: not standby.unready(), "warm")
            await asyncio.sleep(0.5)
            assert seen == ["one"]
            stop.set()
            await eventually(lambda: seen == ["one", "two"], "two leads")


async def test_events_are_posted_once_for_a_state(client: Client, namespace: str) -> None:
    made = await client.create(config_map(namespace, "a"))

    async def events() -> list[str]:
        items, _ = await client.list(EVENT, namespace)
        return sorted(f"{item['type']} {item['reason']} {item['message']}" for item in items)

    async def reconcile(context: Context, key: Key) -> Result:
        for _ in range(3):
            context.events.event(made, type="Warning", reason="Broken", message="the toy is broken")
            context.events.event(made, type="Normal", reason="Mended", message="x" * 2000)
        return Done()

    for _ in range(2):  # an operator that starts again does not repeat itself
        async with running(Manager(settings(namespace), client, [controller(reconcile)])):

            async def reported() -> bool:
                return len(await events()) >= 2

            await eventually(reported, "events")
    assert await events() == ["Normal Mended " + "x" * 1024, "Warning Broken the toy is broken"]
    manager = Manager(settings(namespace), client, [])
    recorder = manager.context.events
    recorder.event(made, type="Warning", reason="Broken", message="again")
    recorder.forget(made, "Broken")
    recorder.event(made, type="Warning", reason="Broken", message="again")
    recorder.event(made, type="Warning", reason="Broken", message="again")
    await recorder.close()
    assert len([event for event in await events() if event.endswith("again")]) == 2
