"""When users and databases are compared again although nobody has changed what is wanted."""

import dataclasses
import json
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from pgoperator import labels
from pgoperator.postgres.sql_report import ServerReport
from reconcilers.pgcluster.database import act_sql, decide_extensions
from reconcilers.pgcluster.state.cache import ClusterCache, SqlCache
from reconcilers.pgcluster.state.view import View
from tests.support.views import NOW, view
from tests.unit.pgcluster.observed import bootstrapped, endpoints, instance_pod, leader, stateful_set

PRIMARY = min(p.name for p in view().planned)
FACTS = ServerReport(170004, False, "7", complete=True, preloaded=tuple(decide_extensions.candidates(view())))
LATEST = timedelta(minutes=10)


def alone(now: datetime) -> View:
    """A cluster of one, in which nothing is changed."""
    objects = [
        bootstrapped(),
        leader(PRIMARY),
        stateful_set(PRIMARY),
        instance_pod(PRIMARY, "primary", "running"),
    ]
    return dataclasses.replace(view(objects), now=now, missing_libraries=())


def compared(at: datetime) -> ClusterCache:
    memory = ClusterCache(sql=SqlCache(digest="wanted", primary="uid"))
    act_sql._remember(alone(at), memory.sql, FACTS, "resync")
    return memory


def reason(now: datetime, memory: ClusterCache) -> str | None:
    return act_sql._reason(alone(now), memory, "wanted", "uid")


def test_drift_is_looked_for_ten_minutes_after_the_last_run_at_the_latest() -> None:
    """Whatever happened at which moment of the resync's own period."""
    for second in range(0, 600, 60):
        at = NOW + timedelta(seconds=second)
        memory = compared(at)
        wait = act_sql.next_look(alone(at), memory)
        assert wait is not None
        next_pass = at + timedelta(seconds=wait.seconds)
        assert next_pass - at <= LATEST
        assert reason(next_pass, memory) == "resync"


def test_in_between_nothing_runs() -> None:
    memory = compared(NOW)
    for seconds in (0, 1, 60, 300):
        assert reason(NOW + timedelta(seconds=seconds), memory) is None


def test_an_alter_system_is_looked_at_at_once_and_only_once() -> None:
    def altered(value: str) -> View:
        pod = instance_pod(PRIMARY, "primary", "running")
        pod["metadata"]["annotations"][labels.ALTERED] = value
        one = view([bootstrapped(), leader(PRIMARY), stateful_set(PRIMARY), pod])
        return dataclasses.replace(one, now=NOW, missing_libraries=())

    memory = compared(NOW)
    assert act_sql._reason(altered("1"), memory, "wanted", "uid") == "resync"
    act_sql._remember(altered("1"), memory.sql, FACTS, "resync")
    assert act_sql._reason(altered("1"), memory, "wanted", "uid") is None
    act_sql._remember(altered("2"), memory.sql, FACTS, act_sql.STREAMS)
    assert act_sql._reason(altered("2"), memory, "wanted", "uid") == "resync"


def test_what_postgresql_refused_is_tried_again_within_a_minute() -> None:
    memory = ClusterCache(sql=SqlCache(digest="wanted", primary="uid"))
    refused = dataclasses.replace(FACTS, refused={"database 'a'": "template1 is being accessed"})
    act_sql._remember(alone(NOW), memory.sql, refused, "resync")
    assert reason(NOW + timedelta(minutes=1), memory) == "resync"


def test_a_run_that_failed_when_it_was_due_is_not_tried_without_end() -> None:
    assert act_sql.next_look(alone(NOW + LATEST), compared(NOW)) is None
    assert reason(NOW + LATEST, compared(NOW)) == "resync"


def test_clusters_of_one_moment_are_spread_over_the_next() -> None:
    assert len({compared(NOW).sql.due for _ in range(10)}) > 1


def configured(now: datetime, work_mem: str) -> View:
    """The same cluster, whose Patroni follows this value."""
    one = alone(now)
    config = json.dumps({"postgresql": {"parameters": {"work_mem": work_mem}}})
    dcs = endpoints("cluster1-ha-config", {"config": config, "initialize": "7"})
    return dataclasses.replace(one, observed=dataclasses.replace(one.observed, dcs=dcs))


def test_each_change_of_the_configuration_has_time_to_arrive() -> None:
    """Also a change back to values that were seen before: PostgreSQL has not reloaded them either."""
    memory = compared(NOW)
    for minute, work_mem in enumerate(("1MB", "2MB", "1MB", "2MB")):
        at = NOW + timedelta(minutes=minute)

        def asked(seconds: float, at: datetime = at, work_mem: str = work_mem) -> str | None:
            one = configured(at + timedelta(seconds=seconds), work_mem)
            return act_sql._reason(one, memory, "wanted", "uid")

        assert asked(0) is None
        assert asked(2) is None
        assert asked(3.1) == act_sql.CONFIGURATION
        act_sql._remember(configured(at, work_mem), memory.sql, FACTS, act_sql.CONFIGURATION)
        assert asked(4) is None


async def test_what_was_taken_back_is_an_event() -> None:
    """The script has reset it already: no later pass sees it."""
    reset = {"fact": "reset", "what": {"archive_command": "'/bin/true' in /pgdata/x.conf:3"}}
    server = {"fact": "server", "version": 170004, "in_recovery": False, "system_identifier": "7"}
    lines = [server, reset, {"fact": "state"}, {"fact": "end"}]
    events: list[dict[str, Any]] = []

    async def run(*_words: Any, **_more: Any) -> str:
        return "\n".join(map(json.dumps, lines))

    ctx = SimpleNamespace(
        client=SimpleNamespace(exec=run),
        events=SimpleNamespace(
            event=lambda _manifest, **event: events.append(event), forget=lambda _manifest, _reason: None
        ),
    )
    await act_sql.act(cast("Any", ctx), alone(NOW), ClusterCache())
    [event] = events
    assert (event["type"], event["reason"]) == ("Warning", "ParametersReset")
    assert "archive_command was '/bin/true' in /pgdata/x.conf:3" in event["message"]
    assert event["message"].endswith("then a backup follows")
    lines.remove(reset)
    await act_sql.act(cast("Any", ctx), alone(NOW), ClusterCache())
    assert len(events) == 1
