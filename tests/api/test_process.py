"""`pgoperator run` as a process: start, endpoints and shutdown."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from local.api_server import free_ports
from local.control_plane import Handle
from pgoperator.kube.client import Client
from pgoperator.kube.errors import NotFound
from pgoperator.kube.kinds import LEASE
from tests.api.conftest import eventually

pytestmark = pytest.mark.api
ROOT = Path(__file__).parents[2]
NAME = "process-lease"


class Process:
    """A running operator."""

    def __init__(self, process: asyncio.subprocess.Process, metrics: int, health: int) -> None:
        self.process = process
        self.ports = {"metrics": metrics, "healthz": health, "readyz": health}

    async def get(self, what: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.ports[what]}/{what}"
        try:
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                return answer.status, await answer.text()
        except aiohttp.ClientError:
            return 0, ""

    async def is_ready(self) -> bool:
        return (await self.get("readyz"))[0] == 200

    async def leads(self) -> bool:
        text = (await self.get("metrics"))[1]
        return bool(re.search(r'leader_election_master_status\{name="process-lease"\} 1', text))

    async def end(self) -> tuple[int, list[dict[str, object]]]:
        """Return the exit status and the lines of the log."""
        async with asyncio.timeout(30):
            _, errors = await self.process.communicate()
        return self.process.returncode or 0, [json.loads(line) for line in errors.splitlines()]


@pytest.fixture
async def operator(crds: None, control_plane: Handle, namespace: str) -> AsyncIterator[Process]:
    metrics, health = free_ports(2)
    environ = os.environ | {
        "KUBECONFIG": str(control_plane.kubeconfig),
        "WATCH_NAMESPACE": namespace,
        "OPERATOR_NAMESPACE": namespace,
        "PGO_METRICS_PORT": str(metrics),
        "PGO_HEALTH_PORT": str(health),
        "PGO_CONTROLLER_LEASE_NAME": NAME,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pgoperator", "run"), env=environ, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    yield Process(process, metrics, health)
    if process.returncode is None:
        process.kill()
        await process.communicate()


async def test_a_signal_ends_it_well(operator: Process, client: Client, namespace: str) -> None:
    await eventually(operator.leads, "leads", 30)
    assert await operator.is_ready()
    assert (await operator.get("healthz"))[0] == 200
    operator.process.send_signal(signal.SIGTERM)
    status, lines = await operator.end()
    assert status == 0, lines
    assert [line["event"] for line in lines][-1] == "stopped"
    assert not (await client.get(LEASE, namespace, NAME))["spec"].get("holderIdentity")


async def test_a_lost_lease_ends_it_with_an_error(operator: Process, client: Client, namespace: str) -> None:
    await eventually(operator.leads, "leads", 30)
    while operator.process.returncode is None:
        theft = {"spec": {"holderIdentity": "thief", "renewTime": "2030-01-01T00:00:00.000000Z"}}
        with suppress(NotFound):
            await client.merge_patch(LEASE, namespace, NAME, theft)
        await asyncio.sleep(0.2)
    status, lines = await operator.end()
    assert status == 1
    assert lines[-1]["type"] == "LeaseLost"
