"""What PostgreSQL refuses of the parameters: judged only when it has been seen with those asked for."""

import json
from dataclasses import replace

import pytest

from pgoperator.errors import InvalidSpec
from pgoperator.postgres.sql_report import ServerReport
from reconcilers.pgcluster.database import conditions as database_conditions
from reconcilers.pgcluster.patroni import build_dynamic_config
from reconcilers.pgcluster.state.cache import SqlCache
from reconcilers.pgcluster.state.view import View
from tests.support.views import view
from tests.unit.pgcluster.observed import endpoints


def asked(**parameters: str) -> View:
    return view(patroni={"dynamicConfiguration": {"postgresql": {"parameters": parameters}}})


def with_patroni_at(one: View, other: View) -> View:
    """What Patroni follows is what another custom resource asked for."""
    text = json.dumps(build_dynamic_config.dynamic_configuration(other))
    dcs = endpoints("cluster1-ha-config", {"config": text, "initialize": "7"})
    return replace(one, observed=replace(one.observed, dcs=dcs))


def seen(one: View, *names: str) -> SqlCache:
    facts = ServerReport(170004, False, "7", complete=True, set_parameters=frozenset(names))
    return SqlCache(facts=facts, configuration=one.observed.configuration_digest)


def reported(one: View, memory: SqlCache) -> list[str]:
    return [problem.reason for problem in database_conditions.problems(one, memory)]


def test_a_parameter_that_has_not_come_as_far_as_the_server_is_refused() -> None:
    one = asked(no_such="1")
    one = with_patroni_at(one, one)
    assert reported(one, seen(one, "work_mem")) == ["ParameterRefused"]
    assert reported(one, seen(one, "no_such")) == []


def test_one_that_patroni_has_just_been_told_of_is_not_judged_yet() -> None:
    one = with_patroni_at(asked(work_mem="7MB"), asked())
    assert reported(one, seen(one, "port")) == []


@pytest.mark.parametrize(
    ("value", "limit", "refused"),
    [
        ("100GB", "2Gi", True),
        ("2GB", "2Gi", True),
        (262144, "2Gi", True),  # blocks of 8 kB
        ("1GB", "2Gi", False),
        ("1 TB", "", False),
        ("much", "2Gi", False),  # PostgreSQL refuses it by itself
    ],
)
def test_shared_buffers_above_the_memory_limit_are_refused_before_a_restart(
    value: str | int, limit: str, refused: bool
) -> None:
    memory = {"limits": {"memory": limit}} if limit else {}
    [one] = view().manifest["spec"]["instances"]
    parameters = {"dynamicConfiguration": {"postgresql": {"parameters": {"shared_buffers": value}}}}
    made = view(instances=[one | {"resources": memory}], patroni=parameters)
    if not refused:
        assert build_dynamic_config.dynamic_configuration(made)
        return
    with pytest.raises(InvalidSpec, match="the memory limit of instance set instance1 is 2Gi") as error:
        build_dynamic_config.dynamic_configuration(made)
    assert error.value.reason == "ParameterImpossible"


def test_huge_pages_are_not_of_the_memory_limit() -> None:
    limits = {"memory": "1Gi", "hugepages-2Mi": "4Gi"}
    [one] = view().manifest["spec"]["instances"]
    parameters = {"dynamicConfiguration": {"postgresql": {"parameters": {"shared_buffers": "3GB"}}}}
    made = view(instances=[one | {"resources": {"limits": limits}}], patroni=parameters)
    assert build_dynamic_config.dynamic_configuration(made)


def test_values_of_the_spec_that_another_file_replaces_are_reported_with_their_place() -> None:
    one = asked(work_mem="4MB")
    one = with_patroni_at(one, one)
    place = "'8MB' in /pgdata/pg17/postgresql.auto.conf:3"
    facts = ServerReport(
        170004, False, "7", complete=True, elsewhere={"work_mem": place, "jit_cost": "'1' in x:1"}
    )
    [finding] = database_conditions.parameters(one, facts)
    assert finding[:3] == ("ParametersOverridden", True, "SetElsewhere")
    assert finding.message.startswith(f"work_mem is {place}: ")
    assert database_conditions.parameters(one, replace(facts, elsewhere={"jit_cost": "'1' in x:1"})) == []
    assert database_conditions.parameters(one, None) == []
    assert database_conditions.parameters(view(), facts) == [], "before Patroni has a configuration"


def test_a_library_in_place_of_the_archive_command_has_no_effect_and_is_reported() -> None:
    one = view(config={"parameters": {"archive_library": "mine", "work_mem": "4MB"}})
    parameters = build_dynamic_config.dynamic_configuration(one)["postgresql"]["parameters"]
    assert "archive_library" not in parameters
    assert build_dynamic_config.overridden(one) == ["spec.config.parameters.archive_library"]
    path = "spec.patroni.dynamicConfiguration.postgresql.parameters.archive_library"
    assert build_dynamic_config.overridden(asked(archive_library="mine")) == [path]
