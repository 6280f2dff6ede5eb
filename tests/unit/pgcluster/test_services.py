"""Which Services a cluster has."""

import pytest

from reconcilers.pgcluster.instances import build_services
from tests.support.views import CLAIM, view


@pytest.mark.parametrize(
    ("replicas", "exists"), [((1,), False), ((1, 1), True), ((2,), True), ((3, 1), True)]
)
def test_replicas_have_a_service_however_they_are_spread_over_sets(
    replicas: tuple[int, ...], exists: bool
) -> None:
    """A set of one instance for each zone is a usual layout."""
    sets = [
        {"name": f"zone{i}", "replicas": count, "dataVolumeClaimSpec": CLAIM}
        for i, count in enumerate(replicas)
    ]
    names = [made["metadata"]["name"] for made in build_services.desired(view(instances=sets))]
    assert ("cluster1-replicas" in names) is exists
