"""Two operators and one Lease."""

import asyncio

import pytest

from local.control_plane import Handle
from pgoperator.kube.client import Client
from pgoperator.kube.errors import NotFound
from pgoperator.kube.kinds import LEASE
from pgoperator.kube.lease import Election, LeaseLost
from pgoperator.settings import LeaseSettings
from tests.api.conftest import audit, eventually
from tests.support.proxy import TcpProxy

pytestmark = pytest.mark.api

QUICK = LeaseSettings(True, "the-lease", duration=1.5, renew_deadline=1.0, retry_period=0.1)


async def holder(client: Client, namespace: str) -> str:
    lease = await client.get(LEASE, namespace, QUICK.name)
    return str(lease["spec"]["holderIdentity"])


async def test_one_leads_and_hands_over_at_release(client: Client, namespace: str) -> None:
    one, two = (Election(client, namespace, QUICK, name) for name in ("one", "two"))
    await one.acquire()
    holding = asyncio.create_task(one.hold())
    waiting = asyncio.create_task(two.acquire())
    await asyncio.sleep(2.5)  # longer than the Lease lasts unrenewed
    assert not waiting.done()
    assert await holder(client, namespace) == "one"
    holding.cancel()
    await one.release()
    async with asyncio.timeout(1):
        await waiting
    assert await holder(client, namespace) == "two"
    spec = (await client.get(LEASE, namespace, QUICK.name))["spec"]
    assert spec["leaseTransitions"] >= 1
    # A late release does not affect the lease of another holder.
    await one.release()
    assert await holder(client, namespace) == "two"


async def test_a_leader_renews_with_one_request_and_reads_after_a_stranger_s_write(
    client: Client, namespace: str, control_plane: Handle
) -> None:
    one = Election(client, namespace, QUICK, "one")
    await one.acquire()

    def asked() -> list[str]:
        return [verb for verb, what, *_ in audit(control_plane, namespace) if what == "leases"]

    begun = asked()
    holding = asyncio.create_task(one.hold())
    await eventually(lambda: len(asked()) >= len(begun) + 5, "five renewals")
    assert set(asked()[len(begun) :]) == {"patch"}
    label = {"metadata": {"labels": {"somebody": "else"}}}
    await client.merge_patch(LEASE, namespace, QUICK.name, label)
    await eventually(lambda: "get" in asked()[len(begun) :], "the Lease is read again")
    after = len(asked())
    await eventually(lambda: len(asked()) >= after + 5, "it is renewed on")
    assert asked()[after + 1 :].count("get") == 0
    assert not holding.done()
    holding.cancel()


async def test_a_deleted_lease_is_made_again_by_its_holder(client: Client, namespace: str) -> None:
    one = Election(client, namespace, QUICK, "one")
    await one.acquire()
    holding = asyncio.create_task(one.hold())
    await client.delete(LEASE, namespace, QUICK.name, uid=None)

    async def back() -> bool:
        try:
            return await holder(client, namespace) == "one"
        except NotFound:
            return False

    await eventually(back, "it is back")
    assert not holding.done()
    holding.cancel()


async def test_a_dead_leader_is_followed_after_the_duration(client: Client, namespace: str) -> None:
    one, two = (Election(client, namespace, QUICK, name) for name in ("one", "two"))
    await one.acquire()
    begin = asyncio.get_running_loop().time()
    await two.acquire()
    # A Lease has whole seconds: 1.5 s is written, and kept, as 2.
    assert 1.9 <= asyncio.get_running_loop().time() - begin < 4


async def test_a_leader_without_a_server_ends_before_anybody_may_follow(
    client: Client, wired: Client, proxy: TcpProxy, namespace: str
) -> None:
    one, two = Election(wired, namespace, QUICK, "one"), Election(client, namespace, QUICK, "two")
    await one.acquire()
    holding = asyncio.create_task(one.hold())
    await asyncio.sleep(0.3)
    follower = asyncio.create_task(two.acquire())
    proxy.stall()
    with pytest.raises(LeaseLost):
        await holding
    assert not follower.done()
    async with asyncio.timeout(5):
        await follower
    proxy.serve()


async def test_a_stolen_lease_is_noticed(client: Client, namespace: str) -> None:
    one = Election(client, namespace, QUICK, "one")
    await one.acquire()
    holding = asyncio.create_task(one.hold())
    await asyncio.sleep(0.2)
    while not holding.done():
        # A write of another client between two of ours.
        await client.merge_patch(LEASE, namespace, QUICK.name, {"spec": {"holderIdentity": "thief"}})
        await asyncio.sleep(0.05)
    with pytest.raises(LeaseLost):
        await holding


async def test_candidates_at_the_same_moment_elect_one(client: Client, namespace: str) -> None:
    elections = [Election(client, namespace, QUICK, f"e{number}") for number in range(5)]
    outcomes = await asyncio.gather(*(election._try() for election in elections))
    assert sum(outcomes) == 1
