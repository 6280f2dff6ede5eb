"""Which extensions a cluster gets, which libraries it preloads, and what is reported about them."""

import json
from dataclasses import replace
from typing import Any

import pytest

from pgoperator import naming
from pgoperator.errors import InvalidSpec
from pgoperator.postgres.sql_report import ServerReport
from reconcilers.pgcluster.database import build_sql, decide_extensions
from reconcilers.pgcluster.patroni import build_dynamic_config
from reconcilers.pgcluster.state.view import View
from tests.support.views import NAMESPACE, view

FACTS = ServerReport(170000, False, "1", complete=True, preloaded=("pgaudit",))
PMM = {"enabled": True, "image": "i", "secret": "pmm", "serverHost": "h", "querySource": "pgstatstatements"}


def preloaded(one: View) -> str | None:
    return build_dynamic_config.dynamic_configuration(one)["postgresql"]["parameters"].get(
        "shared_preload_libraries"
    )


def users_own(libraries: str) -> dict[str, Any]:
    parameters = {"shared_preload_libraries": libraries}
    return {"dynamicConfiguration": {"postgresql": {"parameters": parameters}}}


def test_the_old_switch_wins_over_the_new_one() -> None:
    wanted = decide_extensions.desired(
        view(
            extensions={
                "pgvector": {"enabled": True},
                "pg_repack": {"enabled": False},
                "builtin": {"pgvector": False, "pg_repack": True},
            }
        )
    )
    assert (wanted["vector"], wanted["pg_repack"], wanted["pgaudit"]) == (False, True, True)
    assert "pg_tde" not in wanted


def test_pmm_brings_the_extension_of_its_query_source() -> None:
    assert decide_extensions.desired(view(pmm=PMM))["pg_stat_statements"]
    assert not decide_extensions.desired(view(pmm=PMM | {"enabled": False}))["pg_stat_statements"]
    other = view(pmm=PMM, extensions={"pg_stat_statements": {"enabled": False}})
    assert not decide_extensions.desired(other)["pg_stat_statements"]


def test_two_that_exclude_one_another_are_refused() -> None:
    one = view(pmm=PMM, extensions={"pg_stat_monitor": {"enabled": True}})
    with pytest.raises(InvalidSpec, match="exclude each other"):
        build_dynamic_config.dynamic_configuration(one)
    assert build_sql.reconcile_script(one), "users and databases do not depend on it"
    verdict = decide_extensions.verdict(one, FACTS)
    assert verdict is not None
    assert verdict.reason == "ExtensionsConflict"
    assert decide_extensions.waiting(one, FACTS) == []


def test_what_the_user_preloads_is_joined_and_is_the_users_own() -> None:
    one = view(patroni=users_own("citus, pg_cron"), extensions={"set_user": {"enabled": True}})
    assert preloaded(one) == "citus,pg_cron,pgaudit,set_user"
    assert "pg_cron" not in decide_extensions.desired(one), "it would be dropped, with its jobs"
    assert decide_extensions.candidates(one)[-1] == "citus"


def test_what_the_image_lacks_is_not_preloaded() -> None:
    one = view(extensions={"pg_stat_monitor": {"enabled": True}}, patroni=users_own("absent"))
    known = replace(one, missing_libraries=("pg_stat_monitor", "absent", "pg_tde"))
    assert preloaded(one) == "absent,pg_stat_monitor,pgaudit"
    assert preloaded(known) == "pgaudit"
    parameters = build_dynamic_config.dynamic_configuration(known)["postgresql"]["parameters"]
    assert not [name for name in parameters if name.startswith("pg_stat_monitor.")]


def test_the_list_stays_as_it_is_until_the_server_has_been_asked() -> None:
    current = {"postgresql": {"parameters": {"shared_preload_libraries": "pg_cron"}}}
    dcs = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": naming.patroni_config("cluster1"),
            "namespace": NAMESPACE,
            "labels": {"postgres-operator.crunchydata.com/cluster": "cluster1"},
            "annotations": {"config": json.dumps(current), "initialize": "1"},
        },
    }
    one = view([dcs])
    assert preloaded(one) == "pg_cron"
    assert preloaded(replace(one, missing_libraries=())) == "pgaudit"


def test_the_verdict_names_what_is_not_as_it_should_be() -> None:
    one = view(extensions={"set_user": {"enabled": True}, "pg_cron": {"enabled": True}})
    facts = replace(
        FACTS,
        missing_extensions=("pg_cron",),
        missing_libraries=("pg_cron", "pg_tde"),
        refused_extensions={"app": {"vector": "table t depends on it"}},
    )
    verdict = decide_extensions.verdict(one, facts)
    assert verdict is not None
    assert verdict.reason == "ExtensionMissing"
    assert verdict.message == (
        "the image does not have pg_cron; database 'app', extension vector: table t depends on it; "
        "PostgreSQL must be restarted to load set_user"
    )
    assert decide_extensions.waiting(one, facts) == ["set_user"]
    assert decide_extensions.verdict(view(), FACTS) is None


@pytest.mark.parametrize("lines", [[None], [5], [["host"]], "host", {"a": 1}])
def test_lines_that_are_no_text_are_refused(lines: Any) -> None:
    one = view(patroni={"dynamicConfiguration": {"postgresql": {"pg_hba": lines}}})
    with pytest.raises(InvalidSpec, match=r"pg_hba: must be a list of lines"):
        build_dynamic_config.dynamic_configuration(one)
