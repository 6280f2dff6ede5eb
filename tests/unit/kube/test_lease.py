"""Slow responses never give two processes the lead: a lease counts from its write, not from the response."""

import asyncio
import time
from typing import Any

import pytest

from pgoperator.kube.lease import Election, LeaseLost
from pgoperator.settings import LeaseSettings

SETTINGS = LeaseSettings(True, "unit", duration=1.0, renew_deadline=0.5, retry_period=0.05)


class Server:
    """Holds one Lease; writes at once and answers after `delays` seconds, the last of which repeats."""

    def __init__(self, *delays: float) -> None:
        self.delays = list(delays)
        self.written = 0.0
        self.lease: dict[str, Any] = {"metadata": {"resourceVersion": "1"}, "spec": {}}

    async def get(self, *_: object) -> dict[str, Any]:
        return self.lease

    async def merge_patch(self, kind: object, namespace: str, name: str, patch: Any) -> dict[str, Any]:
        self.written = time.monotonic()
        version = str(int(self.lease["metadata"]["resourceVersion"]) + 1)
        written = {"metadata": {"resourceVersion": version}, "spec": self.lease["spec"] | patch["spec"]}
        self.lease = written
        await asyncio.sleep(self.delays.pop(0) if len(self.delays) > 1 else self.delays[0])
        return written


async def test_an_acquisition_without_a_timely_response_does_not_count() -> None:
    server = Server(3, 0)
    election = Election(server, "ns", SETTINGS, "one")  # type: ignore[arg-type]
    async with asyncio.timeout(2):
        await election.acquire()
    assert time.monotonic() - server.written < 0.3


async def test_the_time_until_the_first_response_counts() -> None:
    server = Server(0.4, 3)
    election = Election(server, "ns", SETTINGS, "one")  # type: ignore[arg-type]
    begin = time.monotonic()
    await election.acquire()
    with pytest.raises(LeaseLost):
        await election.hold()
    assert time.monotonic() - begin < SETTINGS.duration - 0.2
