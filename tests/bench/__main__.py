"""`python -m tests.bench [WHAT ...] [--runs N]`: measure, and print beside Percona Operator's figures."""

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

from tests.bench.backup import large_backup, small_backup
from tests.bench.creation import creation
from tests.bench.drill import drill
from tests.bench.fleet import fleet
from tests.bench.gaps import cuts, strikes
from tests.bench.idle import idle, memory
from tests.bench.place import Stage
from tests.bench.restore import restore
from tests.bench.rolling import rolling
from tests.bench.table import HEAD, Row, emit, table

Part = Callable[[Stage, list[Row], argparse.Namespace], None]
GAPS = ("gaps-graceful", "gaps-force", "gaps-kill", "gaps-cut")
PARTS: dict[str, Part] = {
    "creation": lambda stage, rows, asked: creation(stage, rows, asked.runs or 5),
    "memory": lambda stage, rows, _: memory(stage, rows),
    "fleet": lambda stage, rows, asked: fleet(stage, rows, asked.clusters),
    "idle": lambda stage, rows, _: idle(stage, rows),
    "rolling": lambda stage, rows, asked: rolling(stage, rows, asked.runs or 3),
    "backup": lambda stage, rows, asked: small_backup(stage, rows, asked.runs or 3),
    "restore": lambda stage, rows, asked: restore(stage, rows, asked.runs or 3),
    "drill": lambda stage, rows, asked: drill(stage, rows, asked.runs or 3),
    "backup-large": lambda stage, rows, asked: large_backup(stage, rows, asked.scale),
    "gaps-graceful": lambda stage, rows, asked: strikes(
        stage, rows, "pod deleted gracefully", asked.runs or 10
    ),
    "gaps-force": lambda stage, rows, asked: strikes(stage, rows, "pod deleted by force", asked.runs or 10),
    "gaps-kill": lambda stage, rows, asked: strikes(stage, rows, "main process killed -9", asked.runs or 10),
    "gaps-cut": lambda stage, rows, asked: cuts(stage, rows, asked.runs or 10),
}
USUAL = ("creation", "fleet", "idle", "rolling", "backup", "restore", "drill", "gaps")
GROUPS: Mapping[str, Sequence[str]] = {"gaps": GAPS, "all": (*USUAL[:-1], "backup-large", *GAPS)}


def main() -> int:
    """Run the measurements one after another; return 1 if one could not be completed."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, _interrupt)  # so that results are printed and faults removed
    wanted = [part for what in arguments.what or USUAL for part in GROUPS.get(what, (what,))]
    rows: list[Row] = []
    failed: list[str] = []
    began = time.monotonic()
    try:
        with Stage() as stage:
            for name in wanted:
                _measure(name, stage, rows, failed, arguments)
    finally:
        table("All figures", HEAD, rows)
        emit(f"\n({(time.monotonic() - began) / 60:.1f} min)")
    for name in failed:
        emit(f"NOT COMPLETED: {name}")
    return int(bool(failed))


def _measure(
    name: str, stage: Stage, rows: list[Row], failed: list[str], arguments: argparse.Namespace
) -> None:
    began, found = time.monotonic(), list[Row]()
    emit(f"\n# {name}\n")
    try:
        if not _attempt(name, lambda: PARTS[name](stage, found, arguments)):
            failed.append(name)
            # Leftovers must not distort the next measurements.
            _attempt("the cleanup", stage.leave)
    finally:
        rows += found
        if found:
            table(name, HEAD, found)
        emit(f"\n({name}: {(time.monotonic() - began) / 60:.1f} min)")


def _attempt(what: str, act: Callable[[], None]) -> bool:
    try:
        act()
    except Exception:  # noqa: BLE001 - an error in one measurement must not stop the others
        emit(f"{what} could not be completed:\n{traceback.format_exc()}")
        return False
    return True


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    names = (*PARTS, *GROUPS)
    parser.add_argument(
        "what", nargs="*", metavar="WHAT", help=f"{', '.join(names)}; default {', '.join(USUAL)}"
    )
    parser.add_argument(
        "--runs", type=int, default=0, help="runs of each measurement; default 3, 5 creations, 10 gaps"
    )
    parser.add_argument("--clusters", type=int, default=200, help="size of the fleet, default 200")
    parser.add_argument(
        "--scale", type=int, default=130, help="pgbench scale of the large database; default 130, 2 GiB"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.what) - set(names):
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}; choose from {', '.join(names)}")
    return arguments


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


sys.exit(main())
