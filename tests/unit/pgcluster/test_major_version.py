"""The major version of a cluster that has data."""

from typing import Any

import pytest

from reconcilers.pgcluster.instances import build_statefulsets
from reconcilers.pgcluster.state import major_version
from reconcilers.pgcluster.state.view import View
from tests.support.views import view

OWN_IMAGE = "example.com/postgres:17"


def asked(version: int, image: str = "") -> View:
    return view(postgresVersion=version, image=image or None)


def running() -> list[Any]:
    """The StatefulSets of a cluster of version 17."""
    return [m for m in build_statefulsets.desired(asked(17, OWN_IMAGE)) if m["kind"] == "StatefulSet"]


@pytest.mark.parametrize("evidence", ["status", "StatefulSets"])
def test_a_changed_version_has_no_effect_and_is_reported(evidence: str) -> None:
    status: Any = {"postgres": {"version": 17}} if evidence == "status" else {}
    one = view(running(), postgresVersion=16, image="example.com/postgres:16", status=status)
    cluster, problems = major_version.in_force(one.cluster, one.observed)
    assert cluster.spec.postgres_version == 17
    assert cluster.spec.image == OWN_IMAGE
    [problem] = problems
    assert problem.reason == "WrongPostgresVersion"
    assert "set the field to 17 again" in problem.message
    assert one.cluster.spec.postgres_version == 16, "the user's object stays as it is"


def test_the_version_of_a_new_cluster_is_that_of_the_spec() -> None:
    one = asked(16)
    assert major_version.in_force(one.cluster, one.observed) == (one.cluster, ())


def test_the_server_counts_more_than_a_template() -> None:
    """An operator of an earlier version may have written the wrong version into the templates."""
    one = view(running(), postgresVersion=17, status={"postgres": {"version": 16}})
    cluster, problems = major_version.in_force(one.cluster, one.observed)
    assert cluster.spec.postgres_version == 16
    assert problems
