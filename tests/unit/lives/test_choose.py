"""The steps of a life follow from its seed and are possible; the table shows each kind."""

from dataclasses import dataclass, field
from random import Random

import pytest

from tests.lives.choose import choose, targets
from tests.lives.model import Moment
from tests.lives.play import STEPS, Record, Report

BACKUP = Moment(1, 0, ("--type=immediate", "--set=20260101F"), frozenset(), frozenset())


@dataclass
class Cluster:
    size: int = 2
    moments: list[Moment] = field(default_factory=list)


def chosen(seed: int, cluster: Cluster, count: int = 400) -> list[str]:
    dice = Random(seed)
    return [choose(STEPS, cluster, dice) for _ in range(count)]


def test_a_seed_gives_the_same_steps() -> None:
    assert chosen(7, Cluster()) == chosen(7, Cluster())
    assert chosen(7, Cluster()) != chosen(8, Cluster())


def test_only_steps_that_are_possible() -> None:
    never = {"cut off a node", "restore to a moment", "restore to a backup"}
    assert set(chosen(1, Cluster())) == STEPS.keys() - never
    assert set(chosen(1, Cluster(3, [BACKUP]))) == STEPS.keys() - {"restore to a moment"}
    assert targets(Cluster(moments=[BACKUP]), "time") == []


def test_the_table_has_each_kind_of_step(capsys: pytest.CaptureFixture[str]) -> None:
    Report(2, {"backup": Record([1.0, 12.4], 3, 0, 1)}, ["life 5: broken"]).show()
    said = capsys.readouterr().out
    assert "2 lives, 2 steps, 1 failures" in said
    assert ["backup", "2", "12", "s", "3", "0", "1"] in [line.split() for line in said.splitlines()]
    assert "FAILURE: life 5: broken" in said
