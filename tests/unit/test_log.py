"""A log line never raises: an exception in a handler of errors would end the worker."""

import json

import pytest
import structlog

from pgoperator import log


@pytest.mark.parametrize(
    "value",
    [2**70, "\ud800", {1: 2**70}, {(1, 2): 2**70}, [object()], b"\xff", float("nan"), {"\ud800": 2**70}],
    ids=lambda value: type(value).__name__,
)
def test_every_value_can_be_logged(value: object, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    log.configure(level="INFO", structured=True)
    structlog.get_logger().info("event", value=value)
    (line,) = capfdbinary.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "event"


def test_a_value_that_contains_itself_can_be_logged(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    circle: list[object] = []
    circle.append(circle)
    log.configure(level="INFO", structured=True)
    structlog.get_logger().info("event", value=circle)
    (line,) = capfdbinary.readouterr().err.splitlines()
    assert json.loads(line)
