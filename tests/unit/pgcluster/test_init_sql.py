"""SQL for a new cluster: what the operator keeps of a run that was cut off, and of one that failed."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from pgoperator.errors import CommandFailed
from pgoperator.kube.errors import Unreachable
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.database import act_init_sql, act_sql
from reconcilers.pgcluster.state.cache import ClusterCache
from tests.support.views import NOW, view
from tests.unit.pgcluster.test_status import World

SPEC: dict[str, Any] = {"databaseInitSQL": {"name": "first", "key": "sql"}}


class Database:
    """A primary whose script answers as scripted; `calls` has the arguments of each."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.calls: list[list[str]] = []
        self.cache = ClusterCache()
        self.text = "SELECT 1;"

    async def exec(self, *_: Any, stdin: bytes, timeout: float) -> str:  # noqa: ASYNC109
        self.calls.append(list(_[3][2:]))
        assert stdin == self.text.encode()
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return str(answer)

    async def get(self, *_: Any) -> Any:
        return {"data": {"sql": self.text}}

    async def act(self, after: int = 0, status: Any = None) -> Wait | None:
        seen = view(World().objects(), status=status, **SPEC)
        ctx: Any = SimpleNamespace(client=self)
        at = replace(seen, now=NOW + timedelta(seconds=after))
        return await act_init_sql.act(ctx, at, self.cache)

    @property
    def done(self) -> str | None:
        return act_init_sql.done(view(**SPEC), self.cache)


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr(act_sql, "is_current", lambda *_: True)
    return Database()


def failed(code: int, stderr: str = "") -> CommandFailed:
    return CommandFailed("bash init-sql.sh", code, stderr)


async def test_a_success_is_kept(database: Database) -> None:
    database.answers = [""]
    assert await database.act() is None
    assert database.done == "first"
    assert await database.act(1) is None
    assert len(database.calls) == 1


@pytest.mark.parametrize("answer", [Unreachable("did not finish within 20 s"), failed(75), failed(74)])
async def test_sql_whose_end_is_not_known_is_asked_about_and_no_failure(
    database: Database, answer: Any
) -> None:
    database.answers = [answer, ""]
    wait = await database.act()
    assert wait is not None
    assert "running" in wait.reason
    assert database.cache.init_sql.problem is None
    await database.act(9)
    assert len(database.calls) == 1
    assert await database.act(10) is None
    assert database.done == "first"
    assert all("again" not in call for call in database.calls)


async def test_a_pass_that_is_cancelled_repeats_nothing_at_once(database: Database) -> None:
    database.answers = [TimeoutError(), ""]
    with pytest.raises(TimeoutError):
        await database.act()
    await database.act(1)
    assert len(database.calls) == 1
    assert database.cache.init_sql.problem is None
    await database.act(10)
    assert database.done == "first"


async def test_a_failure_is_shown_and_repeated_after_ten_minutes_or_with_another_text(
    database: Database,
) -> None:
    database.answers = [failed(3, "psql:<stdin>:1: ERROR:  no such thing"), failed(3, "ERROR:  still"), ""]
    for seconds, calls in ((0, 1), (590, 1), (601, 2), (700, 2)):
        await database.act(seconds)
        problem = database.cache.init_sql.problem
        assert problem is not None
        assert problem.reason == "DatabaseInitSQLFailed"
        assert len(database.calls) == calls
    assert ["again" in call for call in database.calls] == [False, True]
    database.text = "SELECT 2;"
    assert await database.act(701) is None
    assert "again" not in database.calls[-1]
    assert database.cache.init_sql.problem is None
