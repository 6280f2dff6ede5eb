"""What the charts say once more, they say alike; what Helm renders is tested with a Helm, in tests/api."""

from typing import Any

import pytest
import yaml

from pgoperator import __version__
from pgoperator.api import CR_VERSION
from pgoperator.install import charts
from pgoperator.install.deployment import RELATED_IMAGES
from pgoperator.settings import Settings
from tests.support.documents import ROOT


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / "charts" / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("chart", "app"), [("pg-operator", __version__), ("pg-db", CR_VERSION)])
def test_versions(chart: str, app: str) -> None:
    about = read(f"{chart}/Chart.yaml")
    assert (about["version"], about["appVersion"]) == (__version__, app)


def test_images_are_those_of_the_manifests() -> None:
    operator, database = read("pg-operator/values.yaml"), read("pg-db/values.yaml")
    assert operator["relatedImages"] == RELATED_IMAGES
    images = Settings.from_env(RELATED_IMAGES)
    assert database["crVersion"] == CR_VERSION
    assert database["image"] == images.related_image("postgres", database["postgresVersion"])
    assert database["proxy"]["pgBouncer"]["image"] == images.related_image("pgbouncer")
    assert database["backups"]["pgbackrest"]["image"] == images.related_image("pgbackrest")


@pytest.mark.parametrize("chart", ["pg-operator", "pg-db"])
def test_every_value_has_a_place_in_the_schema(chart: str) -> None:
    assert set(read(f"{chart}/values.yaml")) <= set(read(f"{chart}/values.schema.json")["properties"])


VALUES = """\
# Two lines
# of text.
one: "|"
two:
  # Deep.
  three: {}
# All of it.
four:
  five: 1
spec:
  six: 7
"""
FIELDS = {
    "properties": {
        "spec": {"properties": {"six": {"description": "A field."}}},
        "seven": {"description": "Another one."},
    }
}


def test_a_table_has_the_comment_or_what_the_field_is_for() -> None:
    rows = charts.table(VALUES, FIELDS).splitlines()[2:]
    assert rows == [
        '| `one` | `"|"` | Two lines of text. |',
        "| `two.three` | `{}` | Deep. |",
        '| `four` | `{"five": 1}` | All of it. |',
        "| `spec.six` | `7` | A field. |",
        "| `seven` |  | Another one. |",
    ]


@pytest.mark.parametrize("chart", charts.CHARTS)
def test_every_value_is_described(chart: str) -> None:
    rows = [line.split(" | ") for line in charts.readme(ROOT, chart).splitlines() if line.startswith("| `")]
    assert [row[0] for row in rows if len(row) == 3 and row[2] == " |"] == []
    tops = {row[0].removeprefix("| `").removesuffix("`").partition(".")[0] for row in rows}
    assert set(read(f"{chart}/values.yaml")) <= tops
    assert tops <= set(read(f"{chart}/values.schema.json")["properties"])
