"""Which servers have known security holes, and how the cluster reports it."""

import pytest

from pgoperator.install.deployment import RELATED_IMAGES
from pgoperator.postgres import minor_versions
from pgoperator.postgres.sql_report import ServerReport
from reconcilers.pgcluster.database import conditions
from reconcilers.pgcluster.status import events


def found(version: int) -> tuple[str, str, str] | None:
    report = ServerReport(version, in_recovery=False, system_identifier="7")
    for finding in conditions.version(report):
        assert finding.status
        return finding.type, finding.reason, finding.message
    return None


@pytest.mark.parametrize("version", [150020, 170012, 170013, 180006, 190000])
def test_a_server_without_known_holes_is_not_mentioned(version: int) -> None:
    assert found(version) is None


def test_before_the_first_report_nothing_is_known() -> None:
    assert conditions.version(None) == []


def test_running_and_fixed_version_and_the_next_step_are_named() -> None:
    assert found(170009) == (
        "PostgreSQLOutdated",
        "FixesMissing",
        (
            "the primary runs PostgreSQL 17.9, which has security holes that 17.12 closes: set spec.image "
            "to an image with 17.12 or later"
        ),
    )


@pytest.mark.parametrize("version", [120022, 130023, 140099])
def test_an_old_major_version_gets_no_fixes(version: int) -> None:
    kind, reason, message = found(version) or ("", "", "")
    assert (kind, reason) == ("PostgreSQLOutdated", "EndOfLife")
    assert f"version {version // 10000} gets no security fixes any more" in message
    assert "PostgreSQL 15 or later" in message


def test_it_is_no_event() -> None:
    assert "PostgreSQLOutdated" not in {*events.ON_CHANGE, *events.WHEN_FALSE}


def test_every_default_image_of_a_supported_version_is_known() -> None:
    majors = {int(name.rsplit("_", 1)[1]) for name in RELATED_IMAGES if "POSTGRES" in name}
    assert majors - set(minor_versions.END_OF_LIFE) == set(minor_versions.CLOSED)
