"""What PostgreSQL refuses of the parameters: judged only when it has been seen with those asked for."""

import hashlib
import json
from dataclasses import replace

from pgoperator.postgres.sql import Facts
from reconcilers.pgcluster import configuration, databases
from reconcilers.pgcluster.memory import Memory
from reconcilers.pgcluster.view import View
from tests.support.views import view
from tests.unit.pgcluster.observed import endpoints


def asked(**parameters: str) -> View:
    return view(patroni={"dynamicConfiguration": {"postgresql": {"parameters": parameters}}})


def with_patroni_at(one: View, other: View) -> View:
    """What Patroni follows is what another custom resource asked for."""
    text = json.dumps(configuration.dynamic_configuration(other))
    dcs = endpoints("cluster1-ha-config", {"config": text, "initialize": "7"})
    return replace(one, observed=replace(one.observed, dcs=dcs))


def seen(one: View, *names: str) -> Memory:
    text = json.dumps(one.observed.dynamic_configuration, sort_keys=True)
    facts = Facts(170004, False, "7", complete=True, set_parameters=frozenset(names))
    return Memory(facts=facts, configuration=hashlib.sha256(text.encode()).hexdigest())


def told(one: View, memory: Memory) -> list[str]:
    return [problem.reason for problem in databases.found(one, memory)]


def test_a_parameter_that_has_not_come_as_far_as_the_server_is_refused() -> None:
    one = asked(no_such="1")
    one = with_patroni_at(one, one)
    assert told(one, seen(one, "work_mem")) == ["ParameterRefused"]
    assert told(one, seen(one, "no_such")) == []


def test_one_that_patroni_has_just_been_told_of_is_not_judged_yet() -> None:
    one = with_patroni_at(asked(work_mem="7MB"), asked())
    assert told(one, seen(one, "port")) == []
