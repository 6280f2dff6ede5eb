"""Changed parameters are tried beside the primary before Patroni gets them."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pgoperator.errors import CommandFailed, CommandTimedOut, InvalidSpec, OperatorError
from reconcilers.pgcluster.patroni import act_dynamic_config, build_dynamic_config
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.view import View
from tests.support.views import view
from tests.unit.pgcluster.observed import bootstrapped, endpoints, instance_pod, leader, stateful_set

PRIMARY = min(p.name for p in view().planned)
DOES_NOT_START = CommandFailed("bash", 3, "shared_buffers is 102400 MB, but the memory is only 2048 MB\n")


class Client:
    """Answers commands with `error`, and keeps what was asked and written."""

    def __init__(self, error: OperatorError | None = None) -> None:
        self.error = error
        self.tried: list[tuple[str, list[str], str]] = []
        self.written: list[dict[str, Any]] = []

    async def exec(
        self, _namespace: str, pod: str, _container: str, command: list[str], *, stdin: bytes, **_limit: float
    ) -> str:
        self.tried.append((pod, command[2:], stdin.decode()))
        if self.error is not None:
            raise self.error
        return ""

    async def merge_patch(self, _kind: object, _namespace: str, _name: str, patch: dict[str, Any]) -> None:
        self.written.append(json.loads(patch["metadata"]["annotations"]["config"]))


def asked(ready: bool = True, uid: str = "1", period: int = 10, **parameters: str) -> View:
    """A cluster that runs with the defaults, and whose custom resource has these parameters."""
    text = json.dumps(build_dynamic_config.dynamic_configuration(view()))
    pod = instance_pod(PRIMARY, "primary", "running", ready=ready)
    pod["metadata"]["uid"] = uid
    objects = [bootstrapped(), leader(PRIMARY), stateful_set(PRIMARY), pod]
    dynamic = {"postgresql": {"parameters": parameters}}
    one = view(objects, patroni={"dynamicConfiguration": dynamic, "syncPeriodSeconds": period})
    dcs = endpoints("cluster1-ha-config", {"config": text, "initialize": "7"})
    dcs["metadata"]["resourceVersion"] = "1"
    return replace(one, observed=replace(one.observed, dcs=dcs))


async def act(client: Client, one: View, cache: ClusterCache | None = None) -> None:
    ctx: Any = SimpleNamespace(client=client)
    await act_dynamic_config.act(ctx, one, cache or ClusterCache())


async def test_what_starts_is_written() -> None:
    client = Client()
    await act(client, asked(max_connections="150", work_mem="8MB"))
    [(pod, names, lines)] = client.tried
    assert pod == f"{PRIMARY}-0"
    assert names == ["max_connections", "work_mem"]
    assert "max_connections = '150'\n" in lines
    assert "wal_level = 'logical'\n" in lines, "all parameters, also those that stay"
    [written] = client.written
    assert written["postgresql"]["parameters"]["max_connections"] == "150"


async def test_what_does_not_start_never_reaches_patroni_and_is_tried_once() -> None:
    client, cache, one = Client(DOES_NOT_START), ClusterCache(), asked(shared_buffers="100GB")
    for _ in range(3):
        with pytest.raises(InvalidSpec, match="102400 MB, but the memory is only 2048 MB") as error:
            await act(client, one, cache)
        assert error.value.reason == "ParameterImpossible"
    assert (len(client.tried), client.written) == (1, [])
    with pytest.raises(InvalidSpec):
        await act(client, asked(shared_buffers="100GB", uid="2"), cache)
    assert len(client.tried) == 2, "another pod may have more memory"
    client.error = None
    await act(client, asked(shared_buffers="1GB"), cache)
    assert [c["postgresql"]["parameters"]["shared_buffers"] for c in client.written] == ["1GB"]


async def test_the_rest_of_the_configuration_does_not_wait_for_it() -> None:
    client, one = Client(DOES_NOT_START), asked(period=8, shared_buffers="100GB")
    with pytest.raises(InvalidSpec):
        await act(client, one)
    [written] = client.written
    assert written["loop_wait"] == 8
    assert "shared_buffers" not in written["postgresql"]["parameters"]


@pytest.mark.parametrize("error", [CommandFailed("bash", 1, "No space left"), CommandTimedOut("bash")])
async def test_what_could_not_be_tried_is_neither_written_nor_refused(error: OperatorError) -> None:
    client, cache = Client(error), ClusterCache()
    with pytest.raises(type(error)):
        await act(client, asked(max_connections="150"), cache)
    assert client.written == []
    client.error = None
    await act(client, asked(max_connections="150"), cache)
    assert len(client.written) == 1


async def test_without_a_server_nothing_is_tried_because_the_change_may_be_the_repair() -> None:
    client = Client(DOES_NOT_START)
    await act(client, asked(ready=False, shared_buffers="1GB"))
    assert (client.tried, len(client.written)) == ([], 1)


async def test_a_change_of_something_else_is_not_tried() -> None:
    client, one = Client(), asked(period=8)
    await act(client, one)
    assert (client.tried, len(client.written)) == ([], 1)
