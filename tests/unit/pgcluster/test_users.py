"""Which users and databases a cluster has."""

from typing import Any

import pytest

from pgoperator.api.cluster import PGCluster
from pgoperator.errors import InvalidSpec
from reconcilers.pgcluster import users
from tests.support.views import cluster_manifest


def effective(name: str = "hippo", **spec: Any) -> dict[str, tuple[str, ...]]:
    cluster = PGCluster.parse(cluster_manifest(name, **spec))
    return {user.name: user.databases for user in users.effective(cluster)}


def test_without_users_there_is_one_as_the_cluster() -> None:
    assert effective() == {"hippo": ("hippo",)}
    assert effective(users=None) == {"hippo": ("hippo",)}


def test_an_empty_list_gives_no_user() -> None:
    assert effective(users=[]) == {}


def test_the_operators_own_roles_are_not_the_users() -> None:
    listed = [{"name": "rhino", "databases": ["zoo", "zoo2"]}, {"name": "monitor"}, {"name": "logicalrepl"}]
    assert effective(users=listed) == {"rhino": ("zoo", "zoo2")}


@pytest.mark.parametrize("name", ["x" * 64, "hippo.zoo"])
def test_a_name_that_cannot_be_a_users_is_refused(name: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        effective(name)
    assert refused.value.reason == "InvalidUser"
