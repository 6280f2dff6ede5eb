"""`python -m tests.chaos [FAULT ...]`: inject faults under load; print their cost and any violation."""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from types import FrameType

from tests.bench.place import place
from tests.bench.table import emit, table
from tests.chaos.strikes import FAULTS
from tests.chaos.trial import Attempts, Trial
from tests.chaos.verdict import HEAD, Outcome, problems


def main() -> int:
    """Run the faults; return 1 if any violates a guarantee."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    names = ", ".join(FAULTS)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"by default all: {names}")
    parser.add_argument("--synchronous", action="store_true", help="a commit waits for a replica")
    parser.add_argument("--rounds", type=int, default=1, help="how often each fault is injected, default 1")
    parser.add_argument(
        "--switchovers",
        type=int,
        default=0,
        help="switchovers per round, default 20, or 8 with --synchronous",
    )
    parser.add_argument(
        "--minutes", type=float, default=13, help="no fault or switchover begins after this time, default 13"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.faults) - set(FAULTS):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; choose from {names}")
    # After each switchover Patroni needs two of its loops until it counts a replica as synchronous again.
    arguments.switchovers = arguments.switchovers or (8 if arguments.synchronous else 20)
    signal.signal(signal.SIGTERM, _interrupt)  # so that faults are removed
    wanted = [name for name in arguments.faults or FAULTS for _ in range(arguments.rounds)]
    outcomes: list[Outcome] = []
    began = time.monotonic()
    try:
        _run(wanted, arguments, began + arguments.minutes * 60, outcomes)
    finally:
        kind = "synchronous" if arguments.synchronous else "asynchronous"
        table(f"Faults under load, {kind} replication", HEAD, [outcome.row() for outcome in outcomes])
        emit(f"\n({(time.monotonic() - began) / 60:.1f} min)")
    found = problems(outcomes, arguments.synchronous)
    for problem in found:
        emit(f"VIOLATION: {problem}")
    return int(bool(found))


def _run(
    wanted: Sequence[str], arguments: argparse.Namespace, deadline: float, outcomes: list[Outcome]
) -> None:
    """Inject the faults into one cluster, and into a new cluster after a failure."""
    with ExitStack() as stack:
        trial: Trial | None = None
        for name in wanted:
            fault, attempts = FAULTS[name], Attempts(FAULTS[name].title)
            if time.monotonic() > deadline:
                outcomes.append(Outcome(fault.title, fault.planned, trouble="not run: out of time"))
                continue
            trial = trial or attempts.make(lambda: _begin(stack, arguments))
            outcomes.append(
                trial.run(name, deadline)
                if trial
                else Outcome(fault.title, fault.planned, trouble=attempts.trouble)
            )
            emit(" | ".join(outcomes[-1].row()))
            if outcomes[-1].trouble:
                trial = None
                attempts.make(stack.close)


def _begin(stack: ExitStack, arguments: argparse.Namespace) -> Trial:
    here = stack.enter_context(place("chaos"))
    return Trial.begin(here, arguments.synchronous, arguments.switchovers)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


sys.exit(main())
