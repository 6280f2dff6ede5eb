"""A plain `kubectl apply` of the definitions."""

import asyncio
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from local import control_plane as planes
from local.bins import kubectl
from pgoperator.api import KINDS
from pgoperator.api.crd import crd
from pgoperator.kube.client import Client
from tests.api.conftest import CRDS, send
from tests.unit.api.test_size import KEY, note

pytestmark = pytest.mark.api
FOLDER = Path(__file__).parents[3] / "manifests" / "crds"


async def test_the_definitions_can_be_applied_without_server_side(
    client: Client, control_plane: planes.Handle, crds: None
) -> None:
    words = f"--kubeconfig={control_plane.kubeconfig}", "apply", f"--filename={FOLDER}"
    process = await asyncio.create_subprocess_exec(kubectl(), *words, stdout=PIPE, stderr=PIPE)
    async with asyncio.timeout(120):
        _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    for kind in KINDS:
        live = await send(client, "GET", f"{CRDS}/{kind.NAMES.plural}.pgv2.percona.com")
        assert live["metadata"]["annotations"][KEY] == note(crd(kind))
