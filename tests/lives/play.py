"""Lives one after another until the time is over: each a new cluster that gets a number of random steps."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any

from tests.bench.place import place
from tests.bench.table import emit, table
from tests.lives import claims, restores, steps, strangers, strikes
from tests.lives.choose import Step, choose, targets
from tests.lives.life import Broken, Life
from tests.lives.model import Loss

LENGTH = 14
"""Steps of one life."""
HEAD = ("step", "times", "slowest", "errors of clients", "confirmed rows lost", "failed")
_ALL = ("instances", "poolers", "servers")
_DATABASE = ("instances", "servers")


def _three(life: Life) -> bool:
    return life.size == 3


def _has(*kinds: str) -> Callable[[Any], bool]:
    return lambda life: any(targets(life, kind) for kind in kinds)


STEPS: dict[str, Step] = {
    "scale": Step(steps.scale, 3, planned=True),
    "scale poolers": Step(steps.scale_poolers, 1, planned=True, keeps=_DATABASE),
    "pause and resume": Step(steps.pause, 2, planned=True, seconds=240),
    "switchover": Step(steps.switch, 3, keeps=("instances", "poolers")),
    "rename the set": Step(steps.rename, 2, planned=True, seconds=240),
    "rolling change": Step(steps.roll, 2, planned=True),
    "reload": Step(steps.reload, 2, planned=True, keeps=_ALL),
    "restart": Step(steps.restart, 2, planned=True, keeps=("instances", "poolers")),
    "ALTER SYSTEM": Step(steps.alter_system, 2, struck=True, keeps=_ALL),
    "backup": Step(steps.back_up, 3, planned=True, keeps=_ALL),
    "recreate": Step(steps.recreate, 3, planned=True, seconds=240),
    "restore to a moment": Step(restores.to_a_moment, 4, _has("time", "lsn"), planned=True, seconds=240),
    "restore to a backup": Step(restores.to_a_backup, 1, _has("immediate"), planned=True, seconds=240),
    "restore to the end": Step(restores.to_the_end, 2, planned=True, seconds=240),
    "kill PostgreSQL": Step(strikes.kill_postgres, 2, struck=True, keeps=("instances", "poolers")),
    "kill a container": Step(strikes.kill_container, 2, struck=True),
    "delete a pod": Step(strikes.delete_pod, 2, struck=True),
    "delete a pod by force": Step(strikes.delete_pod_by_force, 2, struck=True),
    "delete an object": Step(strikes.delete_object, 4, struck=True, keeps=_ALL),
    "delete an owner of pods": Step(strikes.delete_owner, 2, struck=True, seconds=240),
    "cut off a node": Step(strikes.cut_off, 2, _three, struck=True, seconds=240),
    "kill the operator": Step(strikes.kill_operator, 1, keeps=_ALL),
    "restart the operator": Step(strikes.restart_operator, 1, keeps=_ALL),
}


@dataclass
class Record:
    """What was seen of one kind of step."""

    seconds: list[float] = field(default_factory=list)
    errors: int = 0
    lost: int = 0
    failed: int = 0


@dataclass
class Report:
    """What all lives have seen."""

    lives: int = 0
    records: dict[str, Record] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def show(self) -> None:
        """Print the table."""
        rows = [
            (name, str(len(r.seconds)), claims.slowest(r.seconds), str(r.errors), str(r.lost), str(r.failed))
            for name, r in sorted(self.records.items())
        ]
        count = sum(len(r.seconds) for r in self.records.values())
        table(f"{self.lives} lives, {count} steps, {len(self.failures)} failures", HEAD, rows)
        for failure in self.failures:
            emit(f"FAILURE: {failure}")


def play(report: Report, seed: int, seconds: float, lives: int = 0, length: int = LENGTH) -> None:
    """Play so many lives (0: any number). After the time, no life begins, and no step but a first one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not (lives and report.lives >= lives):
        emit(f"life {seed}: {_command(seed, length)}")
        report.lives += 1
        _live(seed, length, deadline, report)
        seed += 1


def _live(seed: int, length: int, deadline: float, report: Report) -> None:
    with place("lives") as here:
        life: Life | None = None
        try:
            life = Life.begin(here, seed)
            dice = Random(seed)
            for number in range(1, length + 1):
                if number > 1 and time.monotonic() > deadline:
                    return
                _step(life, seed, number, choose(STEPS, life, dice), report)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other lives go on
            first = str(error).partition("\n\n")[0]
            report.failures.append(f"life {seed}: {first[:1500]}")
            _explain(life, _command(seed, length), error)
        finally:
            if life is not None:
                life.leave()


def _step(life: Life, seed: int, number: int, name: str, report: Report) -> None:
    """Take a step, wait until the cluster is ready, and judge it."""
    step, dice = STEPS[name], Random(f"{seed}-{number}")
    life.story.append(f"{datetime.now(UTC):%H:%M:%S} {number:2}. {name}")
    emit(life.story[-1])
    pods, strange = _identities(life, step), strangers.versions(life.cluster.kubectl)
    record, began, lost = report.records.setdefault(name, Record()), time.monotonic(), life.model.lost
    record.failed += 1
    kills = life.probe_kills()
    with _disturbed(life, step, dice):
        judge = step.act(life, dice)
    struck = step.struck or life.killed_since(kills)
    life.settle(time.monotonic() if struck else None, step.seconds)
    record.seconds.append(time.monotonic() - began)
    if killed := life.killed_since(kills):
        life.detail(f"the machine is too slow: liveness probes have killed containers of {', '.join(killed)}")
    # Such a kill of a server is a strike, too.
    loss = Loss.UNREPLICATED if killed else Loss.NONE
    life.judge(judge or partial(life.model.check, loss=loss))
    found = claims.changed(pods, _identities(life, step), "restarted:")
    found = claims.unexplained(found, life.killed_since(kills))
    found += claims.changed(strange, strangers.versions(life.cluster.kubectl), "of a stranger:")
    if found:
        raise Broken("\n".join(found))
    record.failed -= 1
    record.lost += life.model.lost - lost
    record.errors += life.errors_since(began)


def _identities(life: Life, step: Step) -> dict[str, Any]:
    """Return what must be equal before and after a step."""
    found: dict[str, Any] = {}
    for pod, value in life.cluster.restarts().items():
        kind = "poolers" if "-pgbouncer-" in pod else "instances"
        if kind in step.keeps:
            found[pod] = value
    if "servers" in step.keeps:
        found |= {f"PostgreSQL of {pod}": start for pod, start in life.starts().items()}
    return found


@contextmanager
def _disturbed(life: Life, step: Step, dice: Random) -> Iterator[None]:
    """Sometimes kill the operator in the middle of its work."""
    if not step.planned or dice.random() > 0.25:
        yield
        return
    seconds = dice.uniform(0.1, 10)
    life.detail(f"the operator is killed after {seconds:.1f} s")
    thread = threading.Thread(target=strikes.kill_operator_later, args=(life, seconds))
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _command(seed: int, length: int) -> str:
    return f"python -m tests.lives --seed {seed} --lives 1 --steps {length}"


def _explain(life: Life | None, command: str, error: Exception) -> None:
    emit(f"\nfailed: {type(error).__name__}: {error}")
    if life is not None:
        emit("\n".join([*life.story, life.cluster.explain()]))
    emit(f"repeat: {command}\n")
