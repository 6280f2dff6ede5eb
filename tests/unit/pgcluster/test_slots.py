"""Replication slots: which Patroni leaves alone, and which are reported."""

from typing import Any

import pytest

from pgoperator.errors import InvalidSpec
from pgoperator.postgres.sql_report import ServerReport, Slot
from reconcilers.pgcluster.database import conditions
from reconcilers.pgcluster.patroni import build_dynamic_config
from tests.support.views import view

LOGICAL = {"type": "logical"}


def report(*slots: Slot) -> ServerReport:
    return ServerReport(170000, in_recovery=False, system_identifier="7", slots=slots)


def configured(version: int = 17, parameters: dict[str, Any] | None = None, **dynamic: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "postgresVersion": version,
        "config": {"parameters": parameters or {}},
        "patroni": {"dynamicConfiguration": dynamic},
    }
    return build_dynamic_config.dynamic_configuration(view(**spec))


@pytest.mark.parametrize(
    ("theirs", "wanted"),
    [
        (None, [LOGICAL]),
        ([{"name": "mine"}], [{"name": "mine"}, LOGICAL]),
        ([LOGICAL, {"name": "mine"}], [{"name": "mine"}, LOGICAL]),
    ],
)
def test_patroni_never_drops_a_logical_slot(theirs: Any, wanted: Any) -> None:
    assert configured(ignore_slots=theirs)["ignore_slots"] == wanted


@pytest.mark.parametrize("wrong", ["mine", ["mine"], {"name": "mine"}])
def test_a_list_of_another_form_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidSpec, match=r"ignore_slots: must be a list of mappings"):
        configured(ignore_slots=wrong)


def test_synchronized_slots_bring_what_they_need() -> None:
    asked = {"sync_replication_slots": "on"}
    config = configured(parameters=asked)["postgresql"]
    assert (config["use_slots"], config["parameters"]["hot_standby_feedback"]) == (True, "on")
    own = configured(parameters=asked | {"hot_standby_feedback": "off"}, postgresql={"use_slots": False})
    assert own["postgresql"]["use_slots"] is False
    assert own["postgresql"]["parameters"]["hot_standby_feedback"] == "off"
    for other in (configured(), configured(parameters={"sync_replication_slots": "off"})):
        assert other["postgresql"]["use_slots"] is False
        assert "hot_standby_feedback" not in other["postgresql"]["parameters"]
    assert configured(16, asked)["postgresql"]["use_slots"] is False


def test_no_condition_without_a_slot_that_needs_attention() -> None:
    assert conditions.slots(None) == conditions.slots(report()) == []


def test_a_slot_that_holds_wal_back_is_named() -> None:
    idle = Slot("a", active=False, lost=False, held=3 << 30)
    slow = Slot("b", active=True, lost=False, held=5 << 30)
    (found,) = conditions.slots(report(idle, slow))
    assert found[:3] == ("ReplicationSlotsFailing", True, "WALHeldBack")
    assert found.message == (
        "replication slot 'a' holds back 3 GiB of WAL on the primary, because it has no consumer; start "
        "the consumer, or drop the slot, before the volume is full; replication slot 'b' holds back 5 GiB "
        "of WAL on the primary, because its consumer is too slow; speed up the consumer, before the volume "
        "is full"
    )


def test_a_lost_slot_is_named() -> None:
    (found,) = conditions.slots(report(Slot("a", active=False, lost=True, held=0)))
    assert found.reason == "WALRemoved"
    assert "replication slot 'a' is lost" in found.message
