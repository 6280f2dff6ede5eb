"""The times of Patroni's lease: what does not fit is fitted, and reported."""

from itertools import product

import pytest

from pgoperator.api.postgres import Patroni
from reconcilers.pgcluster.patroni import build_dynamic_config, decide_lease
from reconcilers.pgcluster.patroni.decide_lease import Lease
from tests.support.views import view


def patroni(lease: int, period: int, retry: object = None) -> Patroni:
    spec = {"leaderLeaseDurationSeconds": lease, "syncPeriodSeconds": period}
    return Patroni.model_validate(
        spec | ({"dynamicConfiguration": {"retry_timeout": retry}} if retry else {})
    )


@pytest.mark.parametrize(
    ("given", "in_force"),
    [
        ((30, 10), (30, 10, 10)),
        ((20, 5), (20, 5, 7)),
        ((20, 2), (20, 2, 9)),
        ((60, 10), (60, 10, 10)),
        ((15, 5), (20, 5, 7)),
        ((3, 1), (20, 1, 9)),
        ((30, 30), (30, 24, 3)),
        ((30, 10, 5), (30, 10, 5)),
        ((30, 10, 12), (30, 6, 12)),
        ((30, 10, 60), (30, 2, 14)),
        ((30, 10, 1), (30, 10, 3)),
        ((20, 10, 5), (20, 10, 5)),
        ((30, 10, "often"), (30, 10, 10)),
    ],
)
def test_times_in_force(given: tuple[int, int], in_force: tuple[int, int, int]) -> None:
    assert decide_lease.fitted(patroni(*given)) == in_force


def test_whatever_is_given_patroni_does_not_change_it() -> None:
    for lease, period, retry in product(range(3, 70, 3), range(1, 70, 4), (None, 1, 3, 5, 10, 14, 40)):
        found = decide_lease.fitted(patroni(lease, period, retry))
        assert found.loop_wait + 2 * found.retry_timeout <= found.ttl, (lease, period, retry)
        assert found.ttl >= 20
        assert found.loop_wait >= 1
        assert found.retry_timeout >= 3


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ((30, 10), []),
        ((20, 5), []),
        ((15, 5), ["leaderLeaseDurationSeconds (in force: 20"]),
        ((30, 10, 12), ["syncPeriodSeconds (in force: 6"]),
        ((30, 10, 60), ["syncPeriodSeconds (in force: 2", "retry_timeout (in force: 14"]),
    ],
)
def test_a_value_that_is_not_in_force_is_named(given: tuple[int, int], named: list[str]) -> None:
    found = decide_lease.overridden(patroni(*given))
    assert len(found) == len(named)
    assert all(name in text for name, text in zip(named, found, strict=True))


def test_keys_that_have_their_own_fields_are_named() -> None:
    given = Patroni.model_validate({"dynamicConfiguration": {"ttl": 90, "loop_wait": 3}})
    path = "spec.patroni.dynamicConfiguration"
    assert decide_lease.overridden(given) == [f"{path}.ttl", f"{path}.loop_wait"]


def test_the_configuration_of_a_usual_cluster_stays_as_it_is() -> None:
    config = build_dynamic_config.dynamic_configuration(view())
    assert (config["ttl"], config["loop_wait"]) == (30, 10)
    assert "retry_timeout" not in config


def test_a_short_lease_gets_a_retry_timeout() -> None:
    one = view(patroni={"leaderLeaseDurationSeconds": 20, "syncPeriodSeconds": 5})
    config = build_dynamic_config.dynamic_configuration(one)
    assert Lease(config["ttl"], config["loop_wait"], config["retry_timeout"]) == (20, 5, 7)
