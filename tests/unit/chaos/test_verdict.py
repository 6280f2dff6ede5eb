"""What must not be is reported, and what asynchronous replication allows is only counted."""

import pytest

from tests.chaos.history import Append, History
from tests.chaos.load import parse
from tests.chaos.trial import Attempts
from tests.chaos.verdict import HEAD, Outcome, explain
from tests.support.pgbench import figures

KEPT = Append("pooled-0", 1, 1.0, 1.1, "", "10.0.0.1", 1)
LOST = Append("direct-node1-x", 2, 2.0, 2.1, "", "10.0.0.1", 1)
FAILED = Append("pooled-0", 3, 3.0, 3.1, "gone")
NEXT = Append("pooled-0", 4, 5.0, 5.1, "", "10.0.0.2", 2)
WHOLE = History([KEPT, NEXT], {KEPT.key: 1, NEXT.key: 1})
TAIL = History([KEPT, LOST, FAILED, NEXT], {KEPT.key: 1, NEXT.key: 1})


@pytest.mark.parametrize(
    ("outcome", "synchronous", "reported"),
    [
        (Outcome("x", True, WHOLE), True, []),
        (Outcome("x", False, TAIL), False, []),
        (Outcome("x", False, TAIL), True, ["x: 1 acknowledged writes lost"]),
        (
            Outcome("x", True, TAIL),
            False,
            ["x: 1 acknowledged writes lost", "x: 1 transactions failed: 1x gone"],
        ),
        (Outcome("x", True, WHOLE, aborted=2), False, ["x: 2 transactions failed: none"]),
        (
            Outcome("x", False, History([KEPT, LOST], {KEPT.key: 1})),
            False,
            ["x: 1 writes lost before others that survived"],
        ),
        (Outcome("x", False, History([KEPT], {KEPT.key: 2})), False, ["x: 1 rows duplicated, 0 invented"]),
        (Outcome("x", False, trouble="never ready"), False, ["x: never ready"]),
    ],
)
def test_problems(outcome: Outcome, synchronous: bool, reported: list[str]) -> None:
    assert outcome.problems(synchronous) == reported


def test_a_double_primary_is_always_a_problem() -> None:
    late = Append("direct-node1-x", 5, 6.0, 6.1, "", "10.0.0.1", 1)
    appends = [KEPT, NEXT, late]
    found = Outcome("x", False, History(appends, {a.key: 1 for a in appends}))
    assert len(found.problems(False)) == 1
    assert found.row()[HEAD.index("double primaries")] == "1"


def test_a_row() -> None:
    assert Outcome("x", False, TAIL, 1.0).row() == (
        "x",
        "3",
        "1",
        "1",
        "0",
        "4.0 s",
        "0",
        "1 at the end of timeline 1, which no replica had received, 1 of them not through pgBouncer",
    )
    assert Outcome("x", False, trouble="never\nmuch").row() == ("x", "-", "-", "-", "-", "-", "-", "never")
    assert explain(WHOLE) == ""


def test_the_log_of_an_appender() -> None:
    whole = '{"worker": "pooled-0", "number": 3, "start": 3.0, "error": "gone", "end": 3.1}'
    assert parse(f'er": 2}}\n{whole}\n{whole[:20]}') == [FAILED]


def test_the_output_of_pgbench() -> None:
    text = """pgbench (17.5)
progress: 1.0 s, 99.5 tps, lat 5.1 ms stddev 1.0, 0 failed, lag 0.4 ms
pgbench: error: client 2 script 0 aborted in command 5 query 0: FATAL:  terminating connection
pgbench: error: client 3 aborted in command 4 (SQL) of script 0; perhaps the backend died
progress: 2.0 s, 50.5 tps, lat 5.1 ms stddev 1.0, 0 failed, lag 0.4 ms
"""
    assert figures(text) == (150, 2)


def test_one_failure_keeps_nothing_after_it_from_being_tried() -> None:
    attempts = Attempts("x")

    def fail() -> None:
        raise ValueError("this way\nand in detail")

    assert attempts.make(fail) is None
    assert attempts.make(lambda: 1) == 1
    assert attempts.make(lambda: {"a": 1}["b"]) is None
    assert attempts.trouble == """this way; 'b'"""
