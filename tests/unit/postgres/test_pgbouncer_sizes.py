"""pgBouncer's limits follow from PostgreSQL's, and the user's win."""

import itertools
from typing import Any

import pytest

from pgoperator.postgres.pgbouncer_sizes import beside, sizes
from reconcilers.pgcluster.pooler import build_pgbouncer
from tests.support.views import cluster_manifest, view

LIMITS = ("default_pool_size", "max_db_connections", "max_client_conn")


def limits(**spec: Any) -> dict[str, str]:
    """What a pod of pgBouncer reads, without comments and entries of databases."""
    objects = build_pgbouncer.desired(view(**spec))
    assert isinstance(objects, list)
    [ini] = [one["data"]["pgbouncer.ini"] for one in objects if one["kind"] == "ConfigMap"]
    lines = (line.partition(" = ") for line in ini.partition("[databases]")[0].splitlines())
    return {name: value for name, _, value in lines if name in LIMITS}


def pooler(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = cluster_manifest()["spec"]["proxy"]
    made["pgBouncer"] |= changes
    return made


@pytest.mark.parametrize(
    ("connections", "poolers", "databases", "pool", "clients"),
    [
        (100, 1, 1, 80, 800),
        (100, 3, 1, 26, 260),
        (100, 3, 4, 20, 260),  # as pgBouncer's own: four databases are rarely busy at once
        (100, 8, 1, 10, 100),
        (500, 3, 2, 66, 1330),
        (20, 3, 0, 3, 100),
        (10, 3, 1, 1, 100),
        (10000, 1, 1, 8000, 10000),
    ],
)
def test_limits(connections: int, poolers: int, databases: int, pool: int, clients: int) -> None:
    assert sizes(connections, poolers, databases) == {
        "default_pool_size": str(pool),
        "max_db_connections": str(pool),
        "max_client_conn": str(clients),
    }


def test_one_busy_database_leaves_connections_for_others() -> None:
    for connections, poolers, databases in itertools.product(range(25, 2000, 37), range(1, 9), range(5)):
        opened = poolers * int(sizes(connections, poolers, databases)["max_db_connections"])
        assert opened <= connections - 10 or opened == poolers


def test_they_follow_max_connections_and_the_number_of_pods() -> None:
    assert limits() == dict(zip(LIMITS, ("26", "26", "260"), strict=True))
    more = {"config": {"parameters": {"max_connections": 400}}}
    assert limits(**more)["default_pool_size"] == "106"
    assert limits(**more, proxy=pooler(replicas=2))["default_pool_size"] == "160"
    assert limits(config={"parameters": {"max_connections": "many"}})["default_pool_size"] == "26"


def test_the_users_limits_win() -> None:
    own = {"config": {"global": {"max_client_conn": "7", "default_pool_size": "99"}}}
    assert limits(proxy=pooler(**own)) == {"max_client_conn": "7", "default_pool_size": "99"}
    capped = {"config": {"global": {"max_db_connections": "5"}}}
    assert limits(proxy=pooler(**capped))["max_db_connections"] == "5"


@pytest.mark.parametrize(
    "config",
    [
        {"databases": {"*": "host=cluster1-primary pool_size=90"}},
        {"users": {"app": "pool_size=90"}},
        {"files": [{"configMap": {"name": "mine"}}]},
    ],
)
def test_no_limit_for_databases_counteracts_pool_sizes_of_the_user(config: dict[str, Any]) -> None:
    assert "max_db_connections" not in limits(proxy=pooler(config=config))


def test_a_limit_for_databases_stays_where_no_pool_size_is_the_users() -> None:
    ours = {"max_db_connections": "26"}
    assert beside(ours, {"pool_mode": "transaction"}, entries=False) == ours
    assert beside(ours, {"min_pool_size": "40"}, entries=False) == {}


def test_a_change_restarts_no_pooler() -> None:
    def template(**spec: Any) -> Any:
        objects = build_pgbouncer.desired(view(**spec))
        assert isinstance(objects, list)
        return next(one["spec"]["template"] for one in objects if one["kind"] == "Deployment")

    assert template() == template(config={"parameters": {"max_connections": 400}})
