"""Some minutes of random lives of clusters; `make soak` plays them for an hour."""

import os
import random

import pytest

from tests.lives.play import Report, play
from tests.support.kubectl import Kubectl

pytestmark = pytest.mark.long
SECONDS = float(os.environ.get("LIFE_SECONDS", "300"))
SEED = int(os.environ.get("LIFE_SEED", str(random.SystemRandom().randrange(10**6))))


def test_every_step_of_a_life_keeps_what_it_must(admin: Kubectl) -> None:
    report = Report()
    try:
        play(report, SEED, SECONDS)
    finally:
        report.show()
    assert report.failures == []
    assert report.records, "no step was taken in the time"
