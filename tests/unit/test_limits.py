"""Values from outside: their depth, size and number are limited before anything works with them."""

import json
import time
from typing import Any

import orjson
import pytest

from pgoperator import limits
from pgoperator.api import PGBackup, PGCluster, PGRestore
from pgoperator.errors import InvalidSpec
from pgoperator.kube.compare import covers
from reconcilers.pgcluster import pipeline
from reconcilers.pgcluster.credentials import decide_lifetimes
from reconcilers.pgrestore import decide_check
from tests.support.views import view
from tests.unit.api.manifests import backup, claim, cluster, restore

WRONG_NUMBERS: tuple[Any, ...] = (-1, 2**63, 1e300, "1" * 5000, "x", [1])
WRONG_TIMES: tuple[Any, ...] = ("2026-11-21", "0001-01-01T00:00:00Z", "9999-01-01T00:00:00Z", None, 5)
HBA = {"connection": "host", "method": "reject"}


def nested(levels: int) -> Any:
    return json.loads('{"a":' * levels + "1" + "}" * levels) if levels < 500 else None


def text(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def depth(value: Any) -> int:
    return max(level for level, _, _ in limits._walk(value, ""))


@pytest.mark.parametrize("levels", [limits.KEPT_DEPTH + 1, 1500, 9000])
def test_deep_json_is_read_without_its_depth(levels: int) -> None:
    raw = b'{"first":[1,"}]\\"{["],"deep":' + text(levels) + b',"last":[' + text(levels) + b"]}"
    value = orjson.loads(limits.shallow(raw))
    assert value["first"] == [1, '}]"{[']
    assert depth(value) == limits.KEPT_DEPTH
    orjson.dumps(value)


def test_json_that_is_not_deep_stays() -> None:
    raw = orjson.dumps(cluster(patroni={"dynamicConfiguration": nested(60)}))
    assert limits.shallow(raw) == raw
    deep = text(limits.KEPT_DEPTH)
    assert limits.shallow(deep) == deep


def test_a_deep_object_is_cut() -> None:
    value = limits.cut({"a": nested(300), "b": [1, None]})
    assert depth(value) == limits.KEPT_DEPTH
    assert value["b"] == [1, None]


@pytest.mark.parametrize("levels", [limits.DEPTH + 1, 100, 300, 450])
def test_a_deep_spec_is_refused(levels: int) -> None:
    with pytest.raises(InvalidSpec, match=r"^spec\.patroni\.dynamicConfiguration\.a.*nested") as refused:
        PGCluster.parse(cluster(patroni={"dynamicConfiguration": nested(levels)}))
    assert refused.value.reason == "TooLarge"
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "spec",
    [
        {"users": [{"name": f"u{n}"} for n in range(limits.ITEMS + 1)]},
        {"proxy": {"pgBouncer": {"config": {"users": {f"u{n}": "" for n in range(limits.ITEMS + 1)}}}}},
        {"patroni": {"dynamicConfiguration": {f"a{n}": list(range(900)) for n in range(30)}}},
        {"logcollector": {"image": "x", "configuration": "x" * (limits.STRING + 1)}},
        {"patroni": {"dynamicConfiguration": {f"a{n}": "x" * 60_000 for n in range(5)}}},
        {"patroni": {"dynamicConfiguration": {"a": 1e29}}},
        {"metadata": {"labels": {"x" * (limits.TEXT + 1): ""}}},
    ],
    ids=["list", "map", "values", "string", "text", "number", "names"],
)
def test_a_huge_spec_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec, match=r"at most|64 bits") as refused:
        PGCluster.parse(cluster(**spec))
    assert refused.value.reason == "TooLarge"


def test_the_limits_hold_for_every_kind() -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.options: at most"):
        PGBackup.parse(backup(options=["--x"] * 2000))
    with pytest.raises(InvalidSpec, match=r"spec\.options: at most"):
        PGRestore.parse(restore(options=["--x"] * 2000))


def test_a_large_spec_of_real_life_is_accepted() -> None:
    users = [
        {"name": f"u{n}", "databases": [f"d{n}", f"e{n}"], "secretName": f"s{n}", "options": "CREATEDB"}
        for n in range(limits.ITEMS)
    ]
    parameters = {f"p{n}": "x" * 20 for n in range(400)}
    configuration = {"postgresql": {"parameters": parameters}}
    begin = time.process_time()
    found = PGCluster.parse(cluster(users=users, patroni={"dynamicConfiguration": configuration}))
    assert time.process_time() - begin < 1
    assert len(found.spec.users or ()) == limits.ITEMS


def test_a_cluster_has_a_number_of_instances_in_total() -> None:
    one = cluster()["spec"]["instances"][0]
    sets = [one | {"name": f"s{n}", "replicas": 25} for n in range(5)]
    PGCluster.parse(cluster(instances=sets[:4]))
    with pytest.raises(InvalidSpec, match=r"^spec\.instances: at most 100 instances.*not 125") as refused:
        PGCluster.parse(cluster(instances=sets))
    assert refused.value.reason == "TooLarge"
    with pytest.raises(InvalidSpec, match=r"spec\.instances\[0\]\.replicas.*100"):
        PGCluster.parse(cluster(instances=[one | {"replicas": 300_000}]))


def test_users_have_a_number_of_databases_in_total() -> None:
    databases = [f"d{n}" for n in range(200)]
    users = [{"name": f"u{n}", "databases": databases} for n in range(26)]
    PGCluster.parse(cluster(users=users[:25]))
    with pytest.raises(InvalidSpec, match=r"^spec\.users: at most 5000 databases"):
        PGCluster.parse(cluster(users=users))


def test_many_problems_make_a_short_message() -> None:
    users = [{"name": "X" * 200} for _ in range(900)]
    with pytest.raises(InvalidSpec, match="more problems") as refused:
        PGCluster.parse(cluster(users=users, metadata={"labels": {"k" * 5000: 1}}))
    assert len(str(refused.value)) < 5000


def test_counters_and_moments() -> None:
    assert limits.whole(None) == 0
    assert limits.whole("7") == 7
    for bad in WRONG_NUMBERS:
        with pytest.raises(limits.MALFORMED):
            limits.whole(bad)
    assert limits.moment("2026-11-21T09:24:22Z").year == 2026
    for bad in WRONG_TIMES:
        with pytest.raises(limits.MALFORMED):
            limits.moment(bad)


def test_texts_that_are_slow_to_read_are_refused_at_once() -> None:
    """Each of them took minutes of the event loop."""
    begin = time.process_time()
    for text in ("1" * 60_000, "1h" * 30_000, "0." * 30_000):
        with pytest.raises(InvalidSpec, match="is not a duration"):
            decide_lifetimes.duration(text, "spec.tls.caValidityDuration")
    for target in ("2026-01-31" + " " * 60_000 + "13:45", " " * 60_000 + "x", "x" + " " * 60_000 + "+"):
        with pytest.raises(InvalidSpec, match="is not a time"):
            decide_check.moment(target)
    for number in ("1e99999999", "1E999999999999999999999", "9" * 60_000, "1e-99999999"):
        assert not covers({"limits": {"cpu": number}}, {"limits": {"cpu": "1"}})
    assert time.process_time() - begin < 1


MOST: dict[str, dict[str, Any]] = {
    "rules": {
        "authentication": {"rules": [HBA | {"hba": "host all all 0.0.0.0/0 reject " + "x=1 " * 100}] * 500}
    },
    "rule": {
        "authentication": {"rules": [HBA | {"hba": "host " + "a," * 30_000 + "b all 0.0.0.0/0 reject"}]}
    },
    "parameters": {
        "patroni": {
            "dynamicConfiguration": {
                "postgresql": {"parameters": {f"a.p{n}": "x" * 200 for n in range(1000)}}
            }
        }
    },
    "free form": {
        "patroni": {
            "dynamicConfiguration": {f"k{n}": {f"j{m}": "x: y #" for m in range(90)} for n in range(200)}
        }
    },
    "users": {"users": [{"name": f"u{n}", "databases": [f"d{n}", "x", "y", "z"]} for n in range(1000)]},
    "instances": {
        "instances": [
            {
                "name": f"i{number}",
                "replicas": 25,
                "dataVolumeClaimSpec": claim(),
                "sidecars": [{"name": f"s{n}", "image": "x"} for n in range(20)],
                "sidecarPVCs": [{"name": f"p{n}", "spec": claim()} for n in range(50)],
                "tablespaceVolumes": [{"name": f"t{n}", "dataVolumeClaimSpec": claim()} for n in range(50)],
            }
            for number in range(4)
        ]
    },
}


@pytest.mark.parametrize("spec", MOST.values(), ids=MOST)
def test_the_largest_spec_leaves_the_loop_time_for_others(spec: dict[str, Any]) -> None:
    """Less than the 10 s in which the Lease must be renewed, on slow machines as well."""
    begin = time.process_time()
    pipeline.build(view(**spec))
    assert time.process_time() - begin < 4
