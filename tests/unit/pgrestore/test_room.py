"""A restore that does not fit on the volume is refused before the instances stop."""

import pytest

from pgoperator.errors import InvalidSpec
from reconcilers.pgrestore import decide_check
from tests.unit.pgrestore.test_archive_end import Server, request
from tests.unit.pgrestore.test_check import NOW, SYSTEM, info, stanza

GIB = 1 << 30
BACKUP = ("--type=immediate",)


def sized(size: int) -> decide_check.Choice:
    (backup,) = stanza()["backup"]
    found = info(backup=[backup | {"info": backup["info"] | {"size": size}}])
    return decide_check.choose(found, 1, BACKUP, SYSTEM, NOW)


def test_a_second_copy_needs_room() -> None:
    choice = sized(5 * GIB)
    decide_check.check_room(choice, 6 * GIB, "data")
    with pytest.raises(InvalidSpec, match="has 5120 MiB, but volume data has only 3072 MiB left"):
        decide_check.check_room(choice, 3 * GIB, "data")


@pytest.mark.parametrize(
    ("options", "free", "serves", "phase"),
    [
        (BACKUP, 0, True, "Checking"),
        (BACKUP, 2, True, "Stopping"),
        # It works in the former data.
        ((*BACKUP, "--delta"), 0, True, "Stopping"),
        # Nobody can measure it.
        (BACKUP, 0, False, "Stopping"),
        (BACKUP, "unknown", True, "Stopping"),
    ],
)
def test_the_volume_is_measured_before_the_stop(
    options: tuple[str, ...], free: int | str, serves: bool, phase: str
) -> None:
    server = Server(request(*options), free=free, serves=serves)
    status = server.reconcile()
    assert status["phase"] == phase
    assert (status["state"] == "Failed") is (phase == "Checking")
