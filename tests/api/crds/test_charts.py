"""The API server accepts the chart's objects, without unknown fields."""

from typing import Any

import pytest

from tests.api.crds.conftest import Create
from tests.support.helm import render
from tests.unit.charts.percona import VALUES

pytestmark = pytest.mark.api


@pytest.mark.parametrize("values", [{}, VALUES], ids=["default", "percona"])
async def test_the_cluster_is_accepted(create: Create, values: dict[str, Any]) -> None:
    [cluster] = render("pg-db", values)
    assert (await create(cluster))["spec"]["instances"]
