"""The API server takes what the chart makes, with nothing in it that it does not know."""

import pytest

from tests.support.helm import render
from tests.unit.charts.original import VALUES

pytestmark = pytest.mark.api


@pytest.mark.parametrize("values", [{}, VALUES], ids=["default", "original"])
async def test_the_cluster_is_accepted(create, values):
    [cluster] = render("pg-db", values)
    assert (await create(cluster))["spec"]["instances"]
