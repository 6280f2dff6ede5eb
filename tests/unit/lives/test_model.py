"""The judgement of a life notices each lie: rows that are lost, from behind a target, or back again."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pytest

from tests.chaos.history import Append, Key
from tests.lives.model import Loss, Model, Noted, Seen, missing_on

WORKER, SERVER = "a0", "10.0.0.1"


def append(number: int, timeline: int = 1, *, error: str = "", server: str = SERVER) -> Append:
    """One attempt: number n begins at second n and takes half a second."""
    return Append(WORKER, number, float(number), number + 0.5, error, server, 0 if error else timeline)


def seen(appends: Iterable[Append], before: float, *gone: int, timeline: int = 1, extra: int = 0) -> Seen:
    """What a check sees: all confirmed rows that began before it, except those that are gone."""
    found = list(appends)
    rows: Counter[Key] = Counter(
        a.key for a in found if a.acknowledged and a.number not in gone and a.start < before
    )
    if extra:
        rows[WORKER, extra] += 1
    return Seen(before, rows, timeline, found)


def rows(*numbers: int) -> list[Append]:
    return [append(n) for n in numbers]


@pytest.fixture
def model() -> Model:
    """Rows 1 to 5 are everywhere at second 6."""
    made = Model()
    assert made.check(seen(rows(*range(1, 6)), 6.0)) == []
    return made


LATER = rows(*range(1, 10))


def test_all_rows_are_there(model: Model) -> None:
    assert model.check(seen(LATER, 10.0)) == []
    assert model.kept == {(WORKER, n) for n in range(1, 10)}


def test_a_confirmed_row_is_lost_in_a_planned_step(model: Model) -> None:
    assert model.check(seen(LATER, 10.0, 9)) == ["confirmed rows lost: 1, a0/9"]


def test_a_row_that_was_confirmed_while_the_table_was_read_may_be_missing(model: Model) -> None:
    assert model.check(seen(LATER, 9.2, 9)) == []


def test_the_end_of_a_timeline_may_be_lost_after_a_strike(model: Model) -> None:
    takeover = [*rows(6, 7), append(9, 2, server="10.0.0.2")]
    found = seen([*LATER[:5], *takeover], 10.0, 7, timeline=2)
    assert model.check(found, Loss.UNREPLICATED) == []
    assert model.lost == 1


def test_a_strike_does_not_explain_every_loss(model: Model) -> None:
    takeover = [*rows(6, 7), append(9, 2, server="10.0.0.2")]
    after = [*LATER[:5], *takeover]
    holes = replace(model).check(seen(after, 10.0, 6, timeline=2), Loss.UNREPLICATED)
    assert holes == ["confirmed rows lost before others that survived: 1, a0/6"]
    old = replace(model).check(seen(after, 10.0, 5, 6, 7, timeline=2), Loss.UNREPLICATED)
    assert old == ["rows lost that all replicas had: 1, a0/5"]
    same = replace(model).check(seen(LATER, 10.0, 9), Loss.UNREPLICATED)
    assert same == ["confirmed rows lost before others that survived: 1, a0/9"]


def test_an_unconfirmed_row_may_be_there_or_not(model: Model) -> None:
    for extra in (0, 6):
        found = seen([*LATER[:5], append(6, error="gone")], 10.0, extra=extra)
        assert replace(model).check(found) == []


def test_rows_that_nobody_tried(model: Model) -> None:
    assert "never tried: 1, a0/77" in model.check(seen(LATER, 10.0, extra=77))[0]


def test_the_next_row_of_a_worker_may_not_be_in_its_log_yet(model: Model) -> None:
    assert model.check(seen(LATER, 10.0, extra=10)) == []


def test_rows_that_exist_twice(model: Model) -> None:
    assert model.check(seen(rows(*range(1, 13)), 13.0, extra=3)) == ["rows exist more than once: 1, a0/3"]


def test_two_primaries_at_a_time(model: Model) -> None:
    both = [*LATER[:5], append(6, 2, server="10.0.0.2"), append(8)]
    assert "confirmed 1 appends" in model.check(seen(both, 10.0, timeline=2))[0]


# --- restores ---


def with_moment(model: Model, *options: str) -> Model:
    """Note a moment between rows 7 and 8, and check at second 10."""
    former, found = model.kept, seen(LATER, 10.0)
    assert model.check(found) == []
    model.note(Noted(options, 7.7, 7.8), found, former)
    return model


def restored(*numbers: int, new: int = 14) -> Seen:
    """What a check sees at second 20 after a restore that began at second 12; the first new row is 14."""
    fresh = [append(n, 2, server="10.0.0.3") for n in range(new, 20)]
    kept = {(WORKER, n): 1 for n in numbers} | {a.key: 1 for a in fresh}
    return Seen(20.0, kept, 2, [*LATER, append(11), append(12, error="gone"), *fresh])


def test_a_restore_ends_at_its_target(model: Model) -> None:
    made = with_moment(model)
    [moment] = made.moments
    assert {n for _, n in moment.must} == {n for _, n in moment.may} == set(range(1, 8))
    assert made.restored(restored(*range(1, 8)), moment, 12.0) == []
    assert (made.lines[-1].parent, made.lines[-1].timeline) == (0, 2)
    # What the restore removed never comes back.
    again = restored(*range(1, 8), 11)
    back = made.check(replace(again, before=21.0))
    assert "have gone" in back[0] or "had gone" in back[0]


def test_a_row_on_its_way_at_the_moment_may_be_there_or_not(model: Model) -> None:
    former, found = model.kept, seen(LATER, 10.0)
    assert model.check(found) == []
    moment = model.note(Noted((), 7.2, 7.3), found, former)
    assert {n for _, n in moment.may - moment.must} == {7}


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((1, 2, 3, 4, 5, 6), "rows of the target are missing: 1, a0/7"),
        ((1, 2, 3, 4, 5, 6, 7, 8), "rows are from behind the target: 1, a0/8"),
        ((1, 2, 3, 4, 5, 6, 7, 11), "rows are from behind the target: 1, a0/11"),
    ],
)
def test_a_restore_that_ends_elsewhere(model: Model, numbers: tuple[int, ...], text: str) -> None:
    made = with_moment(model)
    assert made.restored(restored(*numbers), made.moments[0], 12.0) == [text]


def test_rows_after_a_restore_are_kept(model: Model) -> None:
    made = with_moment(model)
    found = restored(*range(1, 8))
    less = replace(found, present={key: 1 for key in found.present if key != (WORKER, 15)})
    missing = made.restored(less, made.moments[0], 12.0)
    assert missing == ["rows confirmed after the restore are missing: 1, a0/15"]


def test_a_restore_begins_a_timeline(model: Model) -> None:
    made = with_moment(model)
    found = replace(restored(*range(1, 8), new=20), timeline=1)
    assert made.restored(found, made.moments[0], 12.0) == ["timeline 1 follows timeline 1"]


def test_moments_of_other_lines_need_their_timeline() -> None:
    made, now = Model(), 0.0

    def moment(number: int, timeline: int) -> None:
        nonlocal now
        now += 10
        found = Seen(now, {}, timeline, [])
        made.check(found)
        assert made.note(Noted((), now, now), found, frozenset()).number == number

    moment(1, 1)
    moment(2, 1)
    made.branch(0, 1)  # a restore to the first moment
    moment(3, 2)
    made.branch_at_the_end()
    moment(4, 3)
    assert [made.leads_to(one) for one in made.moments] == [True, False, True, True]
    assert [made.timeline_of(one) for one in made.moments] == [1, 1, 2, 3]
    made.branch(0, 2)  # a restore to the second moment, on the line that was left
    moment(5, 4)
    assert [made.leads_to(one) for one in made.moments] == [True, True, False, False, True]


def test_a_replica_that_lacks_rows() -> None:
    assert missing_on([("a", 1)], [("a", 1)]) == ""
    assert missing_on([("a", 1)], [("a", 1), ("a", 2)]) == "rows are not on the replica: 1, a/2"
