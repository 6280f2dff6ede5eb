"""`python -m tests.bench [WHAT ...] [--runs N]`: measure, and print beside the original's figures."""

import argparse
import time
from collections.abc import Callable

from tests.bench.backup import large_backup, small_backup
from tests.bench.creation import creation
from tests.bench.fleet import fleet
from tests.bench.gaps import CUT, STRIKES, gaps
from tests.bench.idle import idle, memory
from tests.bench.place import place
from tests.bench.restore import restore
from tests.bench.table import say

GAPS = {
    "graceful": "pod deleted gracefully",
    "force": "pod deleted by force",
    "kill": "main process killed -9",
    "cut": CUT,
}
assert set(GAPS.values()) == {*STRIKES, CUT}


def main() -> None:
    """Run what is asked for, each part in a place of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parts = (
        "creation",
        "idle",
        "memory",
        "backup",
        "backup-large",
        "restore",
        "gaps",
        *(f"gaps-{name}" for name in GAPS),
        "fleet",
        "all",
    )
    parser.add_argument(
        "what", nargs="*", metavar="WHAT", help=f"{', '.join(parts)}; default all but backup-large"
    )
    parser.add_argument(
        "--runs", type=int, default=0, help="creations (default 5) and faults of a kind (default 10)"
    )
    parser.add_argument("--clusters", type=int, default=200, help="size of the fleet, default 200")
    arguments = parser.parse_args()
    if unknown := set(arguments.what) - set(parts):
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    usual = ("creation", "idle", "backup", "restore", "gaps", "fleet")
    wanted = (*usual, "backup-large") if "all" in arguments.what else arguments.what or usual
    for what in wanted:
        began = time.monotonic()
        _measure(what, arguments.runs, arguments.clusters)
        say(f"\n({what}: {(time.monotonic() - began) / 60:.1f} min)")


def _measure(what: str, runs: int, clusters: int) -> None:
    if what == "fleet":
        fleet(clusters)
        return
    kinds = tuple(GAPS.values()) if what == "gaps" else (GAPS.get(what.removeprefix("gaps-"), ""),)
    measurements: dict[str, Callable[[], object]] = {
        "creation": lambda: creation(here, runs or 5),
        "idle": lambda: idle(here),
        "memory": lambda: memory(here),
        "backup": lambda: small_backup(here, runs or 3),
        "backup-large": lambda: large_backup(here),
        "restore": lambda: restore(here, runs or 3),
    }
    with place(what) as here:
        measurements.get(what, lambda: gaps(here, runs or 10, kinds))()


main()
