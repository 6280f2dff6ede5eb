"""Restores in place: to a moment of any line, to the end of a backup, and to the end of the archive."""

import time
from functools import partial
from random import Random

from tests.lives.choose import targets
from tests.lives.life import Broken, Judge, Life, slowness
from tests.lives.model import Moment, Seen
from tests.support.backups import ENDED
from tests.support.kubectl import until
from tests.support.restores import Restore

SECONDS = 300.0


def to_a_moment(life: Life, dice: Random) -> Judge:
    """Restore to a noted time or position, before or after earlier restores."""
    moment = dice.choice([*targets(life, "time"), *targets(life, "lsn")])
    options, direct = list(moment.options), life.model.leads_to(moment)
    if not direct and dice.random() < 0.2:
        return _refused(life, moment)
    if not direct or dice.random() < 0.3:
        options.append(f"--target-timeline={life.model.timeline_of(moment)}")
    if dice.random() < 0.2:
        options.append("--delta")
    return _to(life, dice, moment, options)


def to_a_backup(life: Life, dice: Random) -> Judge:
    """Restore to the end of a backup."""
    moment = dice.choice(targets(life, "immediate"))
    return _to(life, dice, moment, list(moment.options))


def to_the_end(life: Life, dice: Random) -> Judge:
    """Restore to the end of the archive: nothing is lost."""
    restore = _restore(life, [])
    _expect(restore, "Succeeded")
    _after(restore, dice)

    def judge(seen: Seen) -> list[str]:
        life.model.branch_at_the_end()
        return life.model.check(seen)

    return judge


def _to(life: Life, dice: Random, moment: Moment, options: list[str]) -> Judge:
    began = time.monotonic()
    restore = _restore(life, options)
    _expect(restore, "Succeeded")
    _after(restore, dice)
    return partial(life.model.restored, moment=moment, began=began)


def _refused(life: Life, moment: Moment) -> Judge:
    """Restore to a moment of another line without the timeline: refused, or it ends there all the same."""
    began = time.monotonic()
    restore = _restore(life, list(moment.options))
    if _ended(restore) == "Succeeded":
        return partial(life.model.restored, moment=moment, began=began)
    if "--target-timeline" not in (error := restore.status().get("error", "")):
        raise Broken(f"the refusal does not name --target-timeline: {error}")
    return life.model.check


def _restore(life: Life, options: list[str]) -> Restore:
    name = f"{life.cluster.name}-r{life.number('restore')}"
    life.detail(f"{name}: {' '.join(options) or 'to the end'}")
    return Restore(life.cluster, name, tuple(options)).apply()


def _ended(restore: Restore) -> str:
    def state() -> str:
        found = str(restore.status().get("state"))
        return found if found in ENDED else ""

    return str(until(f"{restore.name} ends", state, SECONDS * slowness(), restore.cluster.explain))


def _expect(restore: Restore, state: str) -> None:
    if _ended(restore) != state:
        raise Broken(f"restore {restore.name} {restore.options} is not {state}: {restore.status()}")


def _after(restore: Restore, dice: Random) -> None:
    """Wait for the backup that follows, or let the next step meet it."""
    if dice.random() < 0.5:
        restore.wait_backup(240 * slowness())
