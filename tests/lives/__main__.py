"""`python -m tests.lives`: random steps on real clusters until the time is over; print what was wrong."""

import argparse
import os
import random
import signal
import sys
from types import FrameType

from tests.bench.table import emit
from tests.lives.play import LENGTH, Report, play


def main() -> int:
    """Play lives; return 1 if a cluster was not what it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.lives", description=__doc__)
    seed = int(os.environ.get("LIFE_SEED") or random.SystemRandom().randrange(10**6))
    seconds = float(os.environ.get("LIFE_SECONDS") or 3600)
    parser.add_argument("--seed", type=int, default=seed, help="of the first life; each later one adds 1")
    parser.add_argument("--seconds", type=float, default=seconds, help="no step begins later, default 3600")
    parser.add_argument("--lives", type=int, default=0, help="how many, default: until the time is over")
    parser.add_argument("--steps", type=int, default=LENGTH, help=f"of each life, default {LENGTH}")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)  # so that a node that is cut off is connected again
    report = Report()
    try:
        play(report, arguments.seed, arguments.seconds, arguments.lives, arguments.steps)
    finally:
        report.show()
    return int(bool(report.failures))


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    emit("interrupted")
    raise KeyboardInterrupt


sys.exit(main())
