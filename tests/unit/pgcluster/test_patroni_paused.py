"""A person's `patronictl pause`: it stays, it is reported, and no instance restarts until it ends."""

import json
from typing import Any

import pytest

from reconcilers.pgcluster.patroni import build_dynamic_config
from reconcilers.pgcluster.patroni import conditions as patroni_conditions
from reconcilers.pgcluster.state.view import View
from tests.support.views import view
from tests.unit.pgcluster.observed import endpoints


def with_configuration(**found: Any) -> View:
    return view([endpoints("cluster1-ha-config", {"config": json.dumps(found), "initialize": "7"})])


@pytest.mark.parametrize("value", [True, False, None])
def test_the_pause_stays_as_long_as_it_is_set(value: bool | None) -> None:
    one = with_configuration(pause=value, ttl=30)
    desired = build_dynamic_config.dynamic_configuration(one)
    assert desired.get("pause") == (True if value else None)
    assert desired["ttl"] == 30


def test_a_value_that_is_no_pause_is_corrected_as_any_other() -> None:
    assert "pause" not in build_dynamic_config.dynamic_configuration(with_configuration(pause="yes"))


def test_the_pause_is_reported_with_the_next_step() -> None:
    assert patroni_conditions.paused(with_configuration(ttl=30)) == []
    [found] = patroni_conditions.paused(with_configuration(pause=True))
    assert (found.type, found.status, found.reason) == ("PatroniPaused", True, "PausedByPatronictl")
    assert "patronictl resume cluster1-ha" in found.message
