"""Random histories of writes, backups and restores: what is there afterwards is what was committed by then.

Real PostgreSQL, real pgBackRest, the script of restores, and the operator's own check before it. The model is
a list of commits, which knows nothing of pgBackRest: a restore ends with exactly the rows that had been
committed on the line that was live at its target, or it is refused, and all rows stay. HISTORY_SEED repeats
a history, HISTORY_SECONDS prolongs it.
"""

import os
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pgoperator.api.pgrestore import PGRestore
from pgoperator.errors import InvalidSpec
from pgoperator.postgres import pgbackrest_info
from pgoperator.postgres.timelines import Timeline
from reconcilers.pgrestore import decide_check, decide_history
from tests.support import scripts
from tests.support.output import emit
from tests.support.restore_place import Place

SECONDS = float(os.environ.get("HISTORY_SECONDS", "40"))
SEED = int(os.environ.get("HISTORY_SEED", str(random.SystemRandom().randrange(10**6))))


@dataclass(frozen=True)
class Commit:
    number: int
    at: datetime


@dataclass
class Line:
    """What was committed on one line of history, and since when the line was live."""

    timeline: int
    commits: list[Commit]
    since: datetime


@dataclass
class World:
    """A database under test, and the model of what it has to contain."""

    place: Place
    dice: random.Random
    lines: list[Line] = field(default_factory=list)
    restores: list[PGRestore] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    story: list[str] = field(default_factory=list)
    number: int = 0

    @property
    def line(self) -> Line:
        return self.lines[-1]

    def now(self) -> datetime:
        return datetime.fromisoformat(self.place.sql("SELECT clock_timestamp()"))

    def note(self, text: str) -> None:
        self.story.append(f"{datetime.now(UTC):%H:%M:%S.%f} {text}")

    def write(self) -> None:
        """Commit some rows, each in its own transaction, and note the times of the commits."""
        for _ in range(self.dice.randint(1, 4)):
            self.number += 1
            self.place.sql(f"INSERT INTO history VALUES ({self.number})")
            query = f"SELECT pg_xact_commit_timestamp(xmin) FROM history WHERE n = {self.number}"
            self.line.commits.append(Commit(self.number, datetime.fromisoformat(self.place.sql(query))))
        self.note(f"wrote up to {self.number}")

    def rest(self) -> None:
        time.sleep(self.dice.uniform(0.1, 1.2))

    def backup(self, kind: str = "") -> None:
        kind = kind or self.dice.choice(["full", "diff", "incr"])
        self.place.run("pgbackrest", "--stanza=db", f"--type={kind}", "--no-expire-auto", "backup")
        self.note(f"backup {kind} {self.info().backups[-1].label}")

    def forget(self) -> None:
        """Remove a backup from the repository, with those that depend on it, but never the last one."""
        backups = self.info().backups
        if len({backup.full_label for backup in backups}) < 2:
            return
        label = self.dice.choice(backups[:-1]).label
        if label == backups[-1].full_label:
            return
        self.place.run("pgbackrest", "--stanza=db", f"--set={label}", "expire")
        self.note(f"removed backup {label}")

    def crash(self) -> None:
        self.place.run("pg_ctl", "-m", "immediate", "-D", str(self.place.data), "stop")
        self.place.start()
        self.note("crashed")

    def info(self) -> pgbackrest_info.Info:
        return pgbackrest_info.parse(self.place.run("pgbackrest", "--stanza=db", "--output=json", "info"))

    def archive(self) -> None:
        """Finish the segment, as the operator does before a restore, and wait until it is archived."""
        self.place.sql("SELECT txid_current()")
        last = self.place.sql("SELECT pg_walfile_name(pg_switch_wal())")
        until = time.monotonic() + 30
        while (archived := self.place.sql("SELECT last_archived_wal FROM pg_stat_archiver")) < last:
            assert time.monotonic() < until, f"{last} is not archived, but {archived}"
            time.sleep(0.05)

    # --- restores ---

    def restore_to_a_moment(self) -> None:
        """To a moment of any line, sometimes with the name of its timeline."""
        begin, end = self.lines[0].since, self.now()
        target = begin + (end - begin) * self.dice.random()
        live = self.live_at(target)
        options = ["--type=time", f"--target={target.isoformat()}"]
        if self.dice.random() < 0.5:
            options.append(f"--target-timeline={live.timeline}")
        expected = [commit for commit in live.commits if commit.at <= target]
        self.restore(options, expected, target)

    def restore_to_the_end(self) -> None:
        self.restore([], list(self.line.commits), None)

    def restore_to_a_backup(self) -> None:
        """To the end of a backup: rows are checked by the moment of its end."""
        backup = self.dice.choice(self.info().backups)
        self.restore(["--type=immediate", f"--set={backup.label}"], None, None)

    def live_at(self, moment: datetime) -> Line:
        """The line that was live, or the former one while the server was down for a restore."""
        return next(line for line in reversed(self.lines) if line.since <= moment)

    def restore(self, options: list[str], expected: list[Commit] | None, target: datetime | None) -> None:
        self.note(f"restore {' '.join(options) or 'to the end'}")
        before, began = self.rows(), datetime.now(UTC)
        try:
            arguments, choice = self.check(options)
        except InvalidSpec as error:
            self.counts["refused"] += 1
            self.note(f"  refused: {error}")
            return
        name = f"r{len(self.restores)}{self.counts['failed']}"
        environment = {"RESTORE_ID": name}
        if choice.wal_last:
            environment |= {"WAL_LAST": choice.wal_last, "FORMER_WAL": "required"}
        self.place.stop()
        with self.fault() as broken:
            status = self.place.restore(*arguments, f"--set={choice.label}", **environment)
        self.place.start()
        found = self.rows()
        if status != 0:
            self.counts["failed"] += 1
            self.note(f"  failed: {self.place.message().strip()}")
            assert broken or "before configured recovery target" not in self.place.message(), "known before"
            assert found == before, "a restore that fails changes nothing"
            return
        self.counts["restored"] += 1
        self.note(f"  restored to {len(found)} rows from {choice.label}")
        if expected is not None:
            assert found == sorted(commit.number for commit in expected), f"target {target}"
        else:
            expected = [commit for line in self.lines for commit in line.commits if commit.number in found]
            numbers = {commit.number for commit in expected}
            assert any(
                numbers == {c.number for c in line.commits[:count]}
                for line in self.lines
                for count in range(len(line.commits) + 1)
            ), "the rows of a backup are the beginning of a line"
        unique = {commit.number: commit for commit in expected}
        timeline = int(self.place.sql("SELECT timeline_id FROM pg_control_checkpoint()"))
        self.lines.append(Line(timeline, [unique[n] for n in sorted(unique)], datetime.now(UTC)))
        self.restores.append(record(name, options, choice.label, began))
        shutil.rmtree(self.place.data.with_name(f"pg_before_{name}"), ignore_errors=True)
        # As the operator does after each restore.
        self.backup("full")

    @contextmanager
    def fault(self) -> Iterator[bool]:
        """Sometimes break a file of the repository, so that the restore must fail or not need the file.

        Whether it did so.
        """
        repository = self.place.root / "repo"
        files = [path for path in sorted(repository.rglob("*.lz4")) if path.is_file()]
        if not files or self.dice.random() > 0.3:
            yield False
            return
        path, kept = self.dice.choice(files), self.place.root / "kept-file"
        subprocess.run(["cp", "-a", path, kept], check=True)
        if self.dice.random() < 0.5:
            path.unlink()
        else:
            content = bytearray(path.read_bytes())
            content[self.dice.randrange(len(content))] ^= 0x55
            path.write_bytes(content)
        self.note(f"  broke {path.relative_to(repository)}")
        try:
            yield True
        finally:
            subprocess.run(["cp", "-a", kept, path], check=True)

    def check(self, options: list[str]) -> tuple[list[str], decide_check.Choice]:
        arguments = decide_check.arguments(options)
        decide_history.check("c", arguments, self.restores)
        self.archive()
        about = self.info(), 1, arguments, None
        choice = decide_check.choose(*about, datetime.now(UTC), timeline=self.timeline(*about))
        followed = decide_check.followed(*about)
        left = decide_history.left_timeline(arguments, self.line.timeline)
        if followed is not None and left is not None:
            decide_history.check_end(arguments, left, self.end_of(followed[0], left))
        return [one for one in arguments if not one.startswith("--set=")], choice

    def end_of(self, archive: str, timeline: int) -> datetime | None:
        """The end of a timeline, as the operator asks for it."""
        script = str(scripts.folder() / "archive-end.sh")
        text = self.place.run("bash", script, "1", archive, str(timeline))
        return datetime.fromisoformat(text) if text else None

    def timeline(self, *about: Any) -> Timeline | None:
        found = decide_check.followed(*about)
        if found is None:
            return None
        archive, number = found
        if number == 1:
            return Timeline(1, {})
        file = f"archive/db/{archive}/{number:08X}.history"
        return Timeline.parse(number, self.place.run("pgbackrest", "--stanza=db", "repo-get", file))

    def rows(self) -> list[int]:
        return [int(n) for n in self.place.sql("SELECT n FROM history ORDER BY n").split()]


def record(name: str, options: list[str], label: str, began: datetime) -> PGRestore:
    """The object of a restore that has succeeded."""
    manifest: dict[str, Any] = {
        "metadata": {"name": name, "namespace": "n", "uid": name, "creationTimestamp": began.isoformat()},
        "spec": {"pgCluster": "c", "repoName": "repo1", "options": options},
        "status": {
            "state": "Succeeded",
            "phase": "Replicas",
            "phaseSince": datetime.now(UTC).isoformat(),
            "backupSet": label,
        },
    }
    return PGRestore.parse(manifest)


def test_every_restore_ends_where_it_was_asked_to_end(place: Place) -> None:
    with (place.data / "postgresql.conf").open("a") as config:
        config.write("track_commit_timestamp = on\n")
    place.start()
    world = World(place, random.Random(SEED))
    try:
        place.sql("CREATE TABLE history (n int)")
        timeline = int(place.sql("SELECT timeline_id FROM pg_control_checkpoint()"))
        world.lines.append(Line(timeline, [], world.now()))
        world.backup("full")
        first = world.info().backups[0].label
        place.run("pgbackrest", "--stanza=db", f"--set={first}", "expire")  # it lacks the table
        steps = {
            world.write: 8,
            world.rest: 4,
            world.backup: 3,
            world.restore_to_a_moment: 4,
            world.restore_to_the_end: 1,
            world.restore_to_a_backup: 1,
            world.forget: 1,
            world.crash: 1,
        }
        end = time.monotonic() + SECONDS
        while time.monotonic() < end or world.counts["restored"] < 2:
            [step] = world.dice.choices([*steps], [*steps.values()])
            step()
            assert world.rows() == [commit.number for commit in world.line.commits]
        failures = [line for line in world.story if " failed: " in line]
        emit(f"seed {SEED}: {dict(world.counts)}, {world.number} commits, {len(world.lines)} lines")
        emit("\n".join(failures))
    except BaseException:
        logs = [place.root / name for name in ("log", "restore.log")]
        ends = [path.read_text(errors="replace")[-6000:] for path in logs if path.exists()]
        emit("\n".join([f"HISTORY_SEED={SEED}", *world.story, *ends]))
        raise
    finally:
        place.stop()
