"""Which users and databases a cluster has."""

from typing import Any

import pytest

from pgoperator.api.cluster import PGCluster
from pgoperator.errors import InvalidSpec
from reconcilers.pgcluster.database import build_sql, conditions, decide_users
from reconcilers.pgcluster.state.cache import SqlCache
from reconcilers.pgcluster.state.view import View
from tests.support.views import cluster_manifest, view
from tests.unit.pgcluster.test_status import World


def effective(name: str = "hippo", **spec: Any) -> dict[str, tuple[str, ...]]:
    cluster = PGCluster.parse(cluster_manifest(name, **spec))
    return {user.name: user.databases for user in decide_users.effective(cluster)}


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


USERS = [
    {"name": "w1", "databases": ["one"]},
    {"name": "w2", "databases": ["two"]},
    {"name": "w3", "databases": ["three"], "options": "SUPER"},
]


def test_an_invalid_user_stops_no_other() -> None:
    one = view(World().objects(), users=USERS)
    script = build_sql.reconcile_script(one)
    for word, there in (("w1", True), ("w2", True), ("w3", False), ("three", False)):
        assert (f'"{word}"' in script) is there, word
    (problem,) = conditions.problems(one, SqlCache())
    assert problem.reason == "InvalidUser"
    assert "user 'w3'" in problem.message
    assert "'SUPER'" in problem.message


def test_a_user_without_a_usable_secret_keeps_its_password() -> None:
    one = view(World().objects(), users=USERS[:2])
    secrets = {name: data for name, data in one.secrets.items() if name != one.user_secrets["w1"]}
    valid, problems = build_sql.roles(View(**{**vars(one), "secrets": secrets}))
    assert [(role.name, role.verifier is None) for role in valid] == [("w1", True), ("w2", False)]
    assert problems == [], "the Secret's own problem is reported with the Secrets"


def test_templates_and_the_operators_own_users_have_no_effect_and_are_named() -> None:
    users = [{"name": "app", "databases": ["app", "template1"]}, {"name": "monitor", "databases": ["app"]}]
    cluster = view(users=users).cluster
    [app] = decide_users.effective(cluster)
    assert app.databases == ("app",)
    assert decide_users.databases((app,)) == ["app"]
    assert decide_users.without_effect(cluster) == [
        "spec.users[0].databases (template1)",
        "spec.users[1] (monitor)",
    ]


def test_the_role_for_pmm_only_watches() -> None:
    pmm = {"enabled": True, "image": "pmm:3", "serverHost": "pmm", "secret": "token"}
    valid, problems = build_sql.roles(view(pmm=pmm))
    assert problems == []
    assert [role.name for role in valid if role.watches] == ["monitor"]
