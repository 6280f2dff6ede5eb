"""PostgreSQL's history files."""

from hypothesis import given
from hypothesis import strategies as st

from pgoperator.postgres.timelines import Timeline, position

HISTORY = "1\t0/3000060\tno recovery target specified\n\n2\t1/A0000000\tbefore 2026-01-01 00:00:00+00\n"


def test_a_timeline_has_what_its_ancestors_wrote_before_it_left_them() -> None:
    third = Timeline.parse(3, HISTORY)
    assert third.has(3, position("FF/0"))
    assert third.has(2, position("1/A0000000"))
    assert not third.has(2, position("1/A0000001"))
    assert third.has(1, position("0/3000060"))
    assert not third.has(1, position("0/3000061"))
    assert not third.has(4, 0)


def test_comments_and_what_is_no_history_are_left_out() -> None:
    assert Timeline.parse(2, "# by hand\n1 0/10\nx 0/20 why\n").ancestors == {1: 16}
    assert Timeline.parse(2, "").ancestors == {}


@given(st.text(max_size=200))
def test_no_text_is_an_error(text: str) -> None:
    assert all(number >= 0 for number in Timeline.parse(2, text).ancestors)
