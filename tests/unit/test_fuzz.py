"""Readers of what users, pods and Jobs write raise only the error that they declare."""

import json
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgoperator import labels, limits
from pgoperator.api import KINDS, PGBackup, PGCluster, PGRestore
from pgoperator.errors import InvalidSpec, OperatorError
from pgoperator.kube.compare import covers
from pgoperator.postgres import hba, pgbackrest_info, pgbackrest_options, roles, scram, sql_report
from pgoperator.postgres.pgbackrest_info import BadInfo
from reconcilers.pgbackup import report
from reconcilers.pgbackup.report import BadReport
from reconcilers.pgcluster import pipeline
from reconcilers.pgcluster.backups import decide_schedules
from reconcilers.pgcluster.credentials import decide_lifetimes
from reconcilers.pgcluster.state import archiver
from reconcilers.pgcluster.state.view import Member, Observed
from reconcilers.pgcluster.status import decide_writes
from reconcilers.pgcluster.watches import WATCHES
from tests.support.views import view
from tests.unit.api.manifests import backup, claim, cluster, restore
from tests.unit.pgcluster.observed import instance_pod, leader
from tests.unit.postgres.test_pgbackrest_info import STANZA

QUICK = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
NOW = datetime(2026, 11, 30, 10, tzinfo=UTC)

# What JSON of the API server can hold: no lone surrogates, no infinities; integers that fit nowhere.
NAMES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8), st.sampled_from(["name", "spec", "a"])
)
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([1e300, 2**63, -1]),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), NUMBERS, NAMES, st.sampled_from(["1Gi", "1e99999999", "é\n\0", "x" * 300])
)
LINES = st.text(st.sampled_from("host all ,'\"\\#=+@/0.:\n\r\0 é-"), max_size=40)
JSON = st.recursive(
    SCALARS,
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(NAMES, below, max_size=3)),
    max_leaves=8,
)
FULL: dict[str, Any] = {
    "port": 5432,
    "users": [{"name": "a", "databases": ["b"], "options": "CREATEDB", "password": {"type": "ASCII"}}],
    "patroni": {
        "dynamicConfiguration": {
            "postgresql": {"parameters": {"work_mem": "1MB"}, "pg_hba": ["host all all 0.0.0.0/0 reject"]},
            "synchronous_mode": True,
        },
        "switchover": {"enabled": True},
    },
    "config": {"parameters": {"work_mem": 5}, "files": [{"secret": {"name": "a"}}]},
    "authentication": {"rules": [{"connection": "host", "method": "ldap", "options": {"ldapserver": "x"}}]},
    "proxy": {
        "pgBouncer": {
            "config": {"global": {"pool_mode": "session"}},
            "minAvailable": 1,
            "sidecars": [{"name": "s"}],
        }
    },
    "standby": {"enabled": False, "maxAcceptableLag": "1Gi"},
    "tls": {"caValidityDuration": "2160h"},
    "instances": [
        {
            "name": "a",
            "replicas": 2,
            "dataVolumeClaimSpec": claim(),
            "resources": {"limits": {"cpu": "1"}},
            "minAvailable": "50%",
            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            "sidecars": [{"name": "s", "image": "x"}],
            "sidecarPVCs": [{"name": "p", "spec": claim()}],
            "extraVolumes": [
                {"name": "e", "volumeSource": {"emptyDir": {}}, "mounts": [{"mountPath": "/e"}]}
            ],
            "affinity": {"podAntiAffinity": {}},
            "topologySpreadConstraints": [{"topologyKey": "zone"}],
        }
    ],
    "pmm": {"enabled": True, "image": "x", "serverHost": "h", "secret": "s"},
    "metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}},
    "expose": {"type": "NodePort", "nodePort": 30000},
}
VALID = {
    PGCluster: cluster(**FULL),
    PGBackup: backup(options=["--type=full"]),
    PGRestore: restore(options=["--a=b"]),
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside."""
    below = (
        list(value.items())
        if isinstance(value, dict)
        else list(enumerate(value))
        if isinstance(value, list)
        else []
    )
    return [path, *(place for step, child in below for place in places(child, (*path, step)))]


@st.composite
def mutated(draw: Any, valid: Any, *, values: Any = JSON) -> Any:
    """A valid document with up to three values replaced by others."""
    document = deepcopy(valid)
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from([place for place in places(document) if place]))
        node = document
        for step in path:
            node = node[step]
        node[last] = draw(values)
    return document


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.NAMES.kind)
@given(data=st.data())
@QUICK
def test_a_custom_resource(kind: Any, data: Any) -> None:
    valid = VALID.get(kind, cluster())
    manifest = data.draw(
        st.one_of(mutated(valid), st.dictionaries(st.sampled_from(["metadata", "spec", "status"]), JSON))
    )
    try:
        found = kind.parse(manifest)
    except InvalidSpec as error:
        refused = error
    else:
        found.to_manifest()
        return
    assert refused.reason in ("InvalidSpec", "TooLarge")
    assert len(str(refused)) < 10_000


@st.composite
def retyped(draw: Any) -> Any:
    """A spec that the definition accepts: the free form is anything, other values keep their type."""
    spec = deepcopy(VALID[PGCluster]["spec"])
    spec["patroni"]["dynamicConfiguration"] = draw(mutated(FULL["patroni"]["dynamicConfiguration"]))
    strings = st.one_of(NAMES, LINES, st.sampled_from(["1e99999999", "1Gi", "50%", "-1", "x" * 300]))
    for _ in range(draw(st.integers(0, 3))):
        *path, last = draw(st.sampled_from([place for place in places(spec) if place]))
        node = spec
        for step in path:
            node = node[step]
        if isinstance(node[last], str):
            node[last] = draw(strings)
        elif isinstance(node[last], int):
            node[last] = draw(st.integers(-(2**40), 2**40))
    return spec


@given(spec=retyped())
@QUICK
def test_what_is_built_of_a_custom_resource(spec: Any) -> None:
    try:
        built = pipeline.build(view(**spec))
    except OperatorError:
        return
    for manifest in built.manifests:
        orjson.dumps(manifest)


TEXTS = st.one_of(
    st.text(max_size=20), JSON.map(json.dumps), st.just("[" * 5000), st.just('{"a":' * 300 + "1" + "}" * 300)
)


def annotations(valid: Any) -> Any:
    """Texts of an annotation: any, JSON of any form, and almost good ones."""
    return st.one_of(
        TEXTS,
        mutated(valid).map(json.dumps),
        mutated(valid).map(lambda v: json.dumps(v).replace('"', "\\ud800", 1)),
    )


STATUS = {
    "state": "running",
    "role": "primary",
    "timeline": 5,
    "xlog_location": 100,
    "pending_restart": True,
    "pending_restart_reason": {"max_connections": {"old_value": "1", "new_value": "2"}},
}


@given(text=annotations(STATUS))
@QUICK
def test_the_status_of_a_member(text: str) -> None:
    pod = {"metadata": {"name": "p", "annotations": {"status": text}}}
    member = Member.of(pod)
    orjson.dumps([member.timeline, member.location, member.state, member.pending])


@given(
    text=annotations(
        {
            "wal": "1",
            "pushed": "2026-11-21T09:24:22Z",
            "commit": "",
            "gaps": [{"repo": 1, "wal": "", "after": ""}],
        }
    )
)
@QUICK
def test_the_annotation_of_the_archive(text: str) -> None:
    found = archiver.archived({"metadata": {"annotations": {labels.ARCHIVED: text}}})
    if found is not None:
        assert found.pushed != NOW or found.pushed < NOW
        orjson.dumps([found.pushed.timestamp(), [gap.wal for gap in found.gaps]])


@given(text=annotations({"since": "2026-11-21T09:24:22Z", "cause": "x"}))
@QUICK
def test_the_annotation_of_a_failure(text: str) -> None:
    found = archiver.failure({"metadata": {"annotations": {labels.ARCHIVE_FAILURE: text}}})
    if found is not None:
        orjson.dumps([found.since < NOW, found.cause, f"{found.since:%Y}"])


@given(text=annotations({"since": "2026-11-21T09:24:22Z", "cause": "x", "through": "pgBouncer"}))
@QUICK
def test_the_annotation_of_failing_writes(text: str) -> None:
    primary = instance_pod("cluster1-a-0", "primary")
    primary["metadata"]["annotations"][labels.WRITE_FAILURE] = text
    orjson.dumps([p.message for p in decide_writes.problems(view([primary, leader("cluster1-a-0")]))])


@given(text=annotations({"postgresql": {"parameters": {"a": 1}}}))
@QUICK
def test_the_configuration_that_patroni_follows(text: str) -> None:
    observed = Observed(dcs={"metadata": {"annotations": {"config": text}}})
    observed.configuration_digest  # noqa: B018


@given(data=st.data())
@QUICK
def test_the_information_of_pgbackrest(data: Any) -> None:
    text = data.draw(annotations([STANZA]))
    try:
        info = pgbackrest_info.parse(text)
    except BadInfo:
        return
    assert all(isinstance(one.label, str) and one.size < limits.WHOLE for one in info.backups)


@given(data=st.data())
@QUICK
def test_the_report_of_a_job(data: Any) -> None:
    valid = {"labels": "20261121-092422F", "backup": STANZA["backup"][0], "volume": {"free": 1, "size": 2}}
    with suppress(BadReport):
        report.parse(data.draw(annotations(valid)))


@given(data=st.data())
@QUICK
def test_the_facts_of_the_access_script(data: Any) -> None:
    server = {"fact": "server", "version": 170000, "in_recovery": False, "system_identifier": "1"}
    state = {"fact": "state", "replication": [], "pending_restart": [], "file_errors": {}, "location": 1}
    lines = [
        data.draw(annotations(server)),
        data.draw(annotations(state)),
        data.draw(annotations({"fact": "database", "name": "a"})),
    ]
    with suppress(OperatorError):
        sql_report.parse_report("\n".join(lines))


@given(text=LINES)
@QUICK
def test_texts_of_users(text: str) -> None:
    readers: list[Any] = [
        lambda: hba.lines([{"hba": text}], [text], False),
        lambda: hba.lines(
            [{"connection": "host", "method": text, "users": [text], "options": {text: text}}], [], True
        ),
        lambda: roles.parse_options(text),
        lambda: pgbackrest_options.backup([text]),
        lambda: pgbackrest_options.restore([text]),
        lambda: decide_schedules.around(text, NOW),
        lambda: decide_lifetimes.duration(text, "x"),
    ]
    for read in readers:
        try:
            read()
        except InvalidSpec:
            continue
    scram.matches(text, text)
    covers({"limits": {"cpu": text}}, {"limits": {"cpu": "1"}})


@given(stored=JSON, desired=JSON)
@QUICK
def test_objects_are_compared(stored: Any, desired: Any) -> None:
    covers({"limits": stored}, {"limits": desired})


@given(data=st.data())
@QUICK
def test_any_change_is_compared_by_the_watches(data: Any) -> None:
    """Of fields that Kubernetes declares; a comparison that fails would wake all for nothing."""
    texts = st.dictionaries(NAMES, NAMES, max_size=2)
    meta = {
        "uid": "u",
        "name": "n",
        "namespace": "ns",
        "labels": data.draw(texts),
        "annotations": data.draw(texts),
    }
    meta["annotations"]["status"] = data.draw(TEXTS)
    manifest = {"metadata": meta, "kind": "X", "spec": {"pgCluster": data.draw(NAMES)}}
    for watch in WATCHES:
        watch.keep(manifest, manifest)
        list(watch.to_keys(manifest))
