"""What a history says: lost, unknown and doubled rows, the longest silence, two primaries at a time."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.chaos.history import Append, History

OLD, NEW = "10.0.0.1", "10.0.0.2"


def append(
    number: int, start: float, server: str = OLD, timeline: int = 1, worker: str = "pooled-0"
) -> Append:
    return Append(worker, number, start, start + 0.1, "", server, timeline)


def failed(number: int, start: float, worker: str = "pooled-0") -> Append:
    return Append(worker, number, start, start + 0.1, "gone")


def history(appends: Sequence[Append], lost: Sequence[int] = (), unknown: Sequence[int] = ()) -> History:
    present = Counter(
        a.key
        for a in appends
        if (a.acknowledged and a.number not in lost) or (not a.acknowledged and a.number in unknown)
    )
    return History(appends, present)


def takeover() -> list[Append]:
    """One primary until second 3, another one from second 5 on."""
    return [
        *(append(n, float(n)) for n in range(1, 4)),
        failed(4, 4.0),
        *(append(n, float(n), NEW, 2) for n in range(5, 8)),
    ]


def test_nothing_is_lost_when_all_is_there() -> None:
    found = history(takeover())
    assert found.lost == []
    assert found.unknown == []
    assert found.duplicated == []
    assert found.invented == []
    assert found.double_primaries() == []
    assert [a.number for a in found.failed] == [4]


def test_the_end_of_an_old_timeline_is_lost_and_explained() -> None:
    found = history(takeover(), lost=[2, 3])
    assert [a.number for a in found.lost] == [2, 3]
    assert found.unexplained == []


def test_a_loss_before_a_row_that_survived_has_no_explanation() -> None:
    found = history(takeover(), lost=[1, 3])
    assert [a.number for a in found.unexplained] == [1]


def test_a_loss_beside_a_row_that_survived_is_explained() -> None:
    """Who came first is not known of two that overlap."""
    beside = replace(append(30, 3.05), worker="pooled-1")
    found = history([*takeover(), beside], lost=[3])
    assert found.unexplained == []


def test_a_loss_on_the_last_timeline_has_no_explanation() -> None:
    assert [a.number for a in history(takeover(), lost=[7]).unexplained] == [7]


def test_an_unacknowledged_row_may_be_there() -> None:
    found = history(takeover(), unknown=[4])
    assert [a.number for a in found.unknown] == [4]
    assert found.lost == []


def test_a_doubled_and_an_invented_row() -> None:
    one = append(1, 1.0)
    found = History([one], Counter({one.key: 2, ("pooled-0", 99): 1}))
    assert found.duplicated == [one.key]
    assert found.invented == [("pooled-0", 99)]


def test_a_member_that_refuses_is_no_failed_transaction() -> None:
    found = history([append(1, 1.0), failed(2, 2.0, "direct-node1-x")])
    assert found.failed == []
    assert found.errors() == "none"


def test_the_longest_silence() -> None:
    found = history(takeover())
    assert found.gap(0.0) == pytest.approx(2.0)
    assert found.gap(3.5) == pytest.approx(2.0), "it began before"
    assert found.gap(5.5) == pytest.approx(1.0)


def test_a_silence_to_the_end_counts() -> None:
    found = history([append(1, 1.0), failed(2, 2.0), failed(3, 9.0)])
    assert found.gap(0.0) == pytest.approx(8.0)


def test_the_silence_is_that_of_pgbouncer() -> None:
    found = history([append(1, 1.0), append(2, 3.0, worker="direct-node1-x"), append(3, 5.0)])
    assert found.gap(0.0) == pytest.approx(4.0)


def test_a_silence_without_any_write() -> None:
    assert history([failed(1, 1.0), failed(2, 4.0)]).gap(1.0) == pytest.approx(3.1)
    assert History([], {}).gap(1.0) == 0.0


def test_an_old_primary_that_goes_on_is_a_double_primary() -> None:
    late = append(40, 5.5, OLD, 1, "direct-node1-old")
    [found] = history([*takeover(), late]).double_primaries()
    assert "10.0.0.1 (timeline 1) confirmed 1 appends" in found
    assert "10.0.0.2 (timeline 2)" in found


def test_an_answer_that_was_only_late_is_none() -> None:
    """It began before the new primary confirmed anything: it may have been committed then."""
    late = Append("pooled-1", 40, 3.0, 9.0, "", OLD, 1)
    assert history([*takeover(), late]).double_primaries() == []


def test_two_servers_in_turn_on_one_timeline() -> None:
    """A pod that comes back with another address goes on on its timeline; the old address never does."""
    back = [append(1, 1.0), append(2, 2.0), append(3, 3.0, NEW)]
    assert history(back).double_primaries() == []
    [found] = history([*back, append(4, 4.0)]).double_primaries()
    assert "10.0.0.1 (timeline 1)" in found


def test_switchovers_there_and_back_are_none() -> None:
    appends = [append(n, float(n), (OLD, NEW)[n % 2], n) for n in range(1, 9)]
    assert history(appends).double_primaries() == []
