"""What the operator reads from an object, and what it makes of absent fields."""

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from pgoperator.api import (
    KINDS,
    Condition,
    PGBackup,
    PGCluster,
    PGClusterSpec,
    PGClusterStatus,
    PGRestore,
    PGUpgrade,
    Resource,
)
from pgoperator.api.postgres import CONNECTIONS
from pgoperator.api.status import PostgresStatus
from pgoperator.errors import InvalidSpec
from pgoperator.postgres import hba
from tests.support.samples import sample
from tests.unit.api.manifests import backup, claim, cluster, restore


def spec(**fields: Any) -> PGClusterSpec:
    return PGCluster.parse(cluster(**fields)).spec


def test_a_small_cluster_gets_the_defaults() -> None:
    small = spec()
    assert small.port == 5432
    assert small.cr_version == ""
    assert small.auto_create_user_schema
    assert small.instances[0].replicas == 1
    assert small.patroni.leader_lease_duration_seconds == 30
    assert small.patroni.sync_period_seconds == 10
    assert small.patroni.port == 8008
    assert small.expose.type == "ClusterIP"
    assert small.tls.cert_management_policy == "auto"
    assert small.backups.enabled
    assert small.backups.track_latest_restorable_time
    assert small.pg_bouncer is None
    assert small.pmm is None
    assert not small.pause


def test_names_of_the_api_are_spelled_as_they_are() -> None:
    full = spec(
        clusterServiceDNSSuffix="k8s.example",
        databaseInitSQL={"name": "init", "key": "a.sql"},
        secrets={"customTLSSecret": {"name": "tls"}, "customRootCATLSSecret": {"name": "ca"}},
        tls={"pgBackRestCertValidityDuration": "24h"},
        proxy={"pgBouncer": {"config": {"global": {"pool_mode": "transaction"}}}},
        extensions={"pg_stat_monitor": {"enabled": True}},
    )
    assert full.cluster_service_dns_suffix == "k8s.example"
    assert full.database_init_sql is not None
    assert full.database_init_sql.key == "a.sql"
    assert full.secrets.custom_tls_secret is not None
    assert full.secrets.custom_tls_secret.name == "tls"
    assert full.secrets.custom_root_ca_tls_secret is not None
    assert full.secrets.custom_root_ca_tls_secret.name == "ca"
    assert full.tls.pgbackrest_cert_validity_duration == "24h"
    assert full.pg_bouncer is not None
    assert full.pg_bouncer.config.global_options == {"pool_mode": "transaction"}
    assert full.extensions.pg_stat_monitor.enabled


def test_embedded_types_stay_as_they_are() -> None:
    affinity = {"podAntiAffinity": {"anything": [1, {"b": None}]}}
    instance = {"name": "one", "dataVolumeClaimSpec": claim(), "affinity": affinity}
    assert spec(instances=[instance]).instances[0].affinity == affinity


def test_fields_of_a_newer_version_do_not_matter() -> None:
    manifest = cluster(fieldOfTheFuture={"a": 1})
    manifest["status"] = {"state": "ready", "fieldOfTheFuture": 1}
    assert PGCluster.parse(manifest).status.state == "ready"


def test_null_is_absent() -> None:
    assert spec(port=None, proxy=None, users=None).port == 5432


def test_a_model_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        spec().port = 5433  # type: ignore[misc]


def test_what_is_wrong_is_said_with_its_place_and_without_its_value() -> None:
    manifest = cluster(port="s3cret", instances=[{"name": "one", "replicas": 0, "dataVolumeClaimSpec": {}}])
    with pytest.raises(InvalidSpec) as caught:
        PGCluster.parse(manifest)
    message = str(caught.value)
    assert "spec.port: input should be a valid integer" in message
    assert "spec.instances[0].replicas: input should be greater than or equal to 1" in message
    assert "s3cret" not in message
    assert caught.value.reason == "InvalidSpec"


@pytest.mark.parametrize(
    "stanza", ['db"; touch /tmp/x; "', "../../pg17", "..", "", "$(id)", "a b", "-x", "db\n", "a/b", "x" * 129]
)
def test_a_stanza_is_the_name_of_a_folder(stanza: str) -> None:
    def source(name: str) -> Any:
        repo = {"name": "repo1", "s3": {"bucket": "b", "endpoint": "e", "region": "r"}}
        return {"pgbackrest": {"stanza": name, "repo": repo}}

    with pytest.raises(InvalidSpec, match="stanza"):
        spec(dataSource=source(stanza))
    assert spec(dataSource=source("db_2.old-x")).data_source is not None


@pytest.mark.parametrize(
    ("names", "expected"), [([""], ["00"]), (["a", "", "c"], ["a", "01", "c"]), (["", ""], ["00", "01"])]
)
def test_a_set_without_a_name_gets_its_position(names: list[str], expected: Any) -> None:
    sets = [{"name": name, "dataVolumeClaimSpec": {}} for name in names]
    assert [one.name for one in spec(instances=sets).instance_sets()] == expected


@pytest.mark.parametrize(
    ("replicas", "given", "expected"),
    [(1, None, 0), (2, None, 1), (5, None, 1), (3, 2, 2), (3, "50%", "50%"), (3, 0, 0)],
)
def test_a_disruption_leaves_one_unless_told_otherwise(replicas: int, given: Any, expected: Any) -> None:
    one = {"replicas": replicas, "minAvailable": given}
    full = spec(instances=[{"dataVolumeClaimSpec": {}, **one}], proxy={"pgBouncer": one})
    assert full.instances[0].effective_min_available == expected
    assert full.pg_bouncer is not None
    assert full.pg_bouncer.effective_min_available == expected


def test_a_pooler_without_replicas_is_none() -> None:
    assert spec(proxy={"pgBouncer": {"replicas": 0}}).pg_bouncer is None


def test_repositories_are_those_in_use_in_order() -> None:
    repos = [{"name": "repo3", "s3": {"bucket": "b", "endpoint": "e", "region": "r"}}, {"name": "repo1"}]
    assert [repo.number for repo in spec(backups={"pgbackrest": {"repos": repos}}).backups.repos] == [1, 3]
    assert spec(backups={"enabled": False, "pgbackrest": {"repos": repos}}).backups.repos == ()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"pg_audit"}),
        ({"extensions": {"pg_audit": {"enabled": False}, "pgvector": {"enabled": True}}}, {"pgvector"}),
        ({"extensions": {"pg_audit": {"enabled": True}, "builtin": {"pg_audit": False}}}, set()),
        ({"pmm": {"enabled": True}}, {"pg_audit", "pg_stat_statements"}),
        ({"pmm": {"enabled": True, "querySource": "pgstatmonitor"}}, {"pg_audit", "pg_stat_monitor"}),
        ({"pmm": {"enabled": False, "querySource": "pgstatmonitor"}}, {"pg_audit"}),
    ],
)
def test_extensions_follow_their_switches_and_pmm(fields: Any, expected: Any) -> None:
    if "pmm" in fields:
        fields = {"pmm": {"image": "i", "serverHost": "h", "secret": "s", **fields["pmm"]}}
    assert spec(**fields).enabled_extensions() == expected


def test_status_is_written_without_what_is_not_known() -> None:
    status = PGClusterStatus(
        state="initializing",
        postgres=PostgresStatus(size=3, ready=0, image_id="sha256:1"),
        conditions=(
            Condition(
                type="Ready",
                status="False",
                reason="Starting",
                message="",
                last_transition_time=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
            ),
        ),
    )
    assert status.to_manifest() == {
        "state": "initializing",
        "postgres": {"size": 3, "ready": 0, "imageID": "sha256:1"},
        "conditions": [
            {
                "type": "Ready",
                "status": "False",
                "reason": "Starting",
                "message": "",
                "lastTransitionTime": "2026-01-02T03:04:05Z",
            }
        ],
    }
    ready = PGClusterStatus.model_validate(status.to_manifest()).condition("Ready")
    assert ready is not None
    assert ready.reason == "Starting"
    assert status.condition("Other") is None


def test_metadata_is_read() -> None:
    manifest = cluster()
    manifest["metadata"] |= {
        "uid": "1-2",
        "generation": 4,
        "resourceVersion": "77",
        "finalizers": ["percona.com/delete-pvc"],
        "annotations": {"a": "b"},
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "deletionTimestamp": "2026-01-02T03:05:05Z",
        "managedFields": [{}],
    }
    metadata = PGCluster.parse(manifest).metadata
    assert (metadata.name, metadata.namespace, metadata.uid, metadata.generation) == (
        "hippo",
        "default",
        "1-2",
        4,
    )
    assert metadata.finalizers == ("percona.com/delete-pvc",)
    assert metadata.creation_timestamp == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert metadata.is_deleting


def test_backups_and_restores_are_read() -> None:
    assert PGBackup.parse(backup()).spec.method == "pgbackrest"
    read = PGRestore.parse(restore(options=["--type=time"], containerOptions={"env": [{"name": "A"}]}))
    assert read.spec.options == ("--type=time",)
    assert read.spec.container_options is not None
    assert read.spec.container_options.env == ({"name": "A"},)


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("cluster", PGCluster),
        ("every-field", PGCluster),
        ("backup", PGBackup),
        ("restore", PGRestore),
        ("upgrade", PGUpgrade),
    ],
)
def test_samples_are_read(file: str, kind: type[Resource]) -> None:
    manifest = sample(file)
    assert kind.NAMES.kind == manifest["kind"]
    assert kind.parse(manifest).name == manifest["metadata"]["name"]


def test_the_operator_does_not_load_what_only_generation_needs() -> None:
    """The schemas of Kubernetes' types cost memory, and the operator's process has no use for them."""
    code = "import sys, pgoperator.api, pgoperator.api.ignored; print(sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "pgoperator.api.crd" not in modules
    assert "yaml" not in modules


def test_kinds_have_the_names_of_percona_operator() -> None:
    names = {kind.NAMES.plural: (kind.NAMES.kind, kind.NAMES.short_names) for kind in KINDS}
    assert names == {
        "perconapgclusters": ("PerconaPGCluster", ("pg",)),
        "perconapgbackups": ("PerconaPGBackup", ("pg-backup",)),
        "perconapgrestores": ("PerconaPGRestore", ("pg-restore",)),
        "perconapgupgrades": ("PerconaPGUpgrade", ()),
    }


def test_a_reason_that_is_no_word_is_converted() -> None:
    def reason(text: str) -> str:
        return Condition(
            type="Ready", status="False", last_transition_time=datetime.now(UTC), reason=text, message="x"
        ).reason

    assert reason("Invalid response status") == "InvalidResponseStatus"
    assert reason("images must come from registry.corp\n") == "ImagesMustComeFromRegistryCorp"
    assert reason("404 Not Found") == "NotFound"
    assert reason("AsItIs,or:so_1") == "AsItIs,or:so_1"
    assert reason("") == reason("...") == "Unknown"
    assert len(reason("x" * 5000)) == 1024


def test_a_message_that_is_too_long_is_shortened() -> None:
    condition = Condition(
        type="Ready", status="False", last_transition_time=datetime.now(UTC), reason="X", message="x" * 40000
    )
    assert len(condition.message) == 32768


def test_an_unreadable_part_of_a_status_does_not_hide_the_rest() -> None:
    good = {"type": "Ready", "status": "True", "reason": "X", "message": ""}
    read = PGClusterStatus.readable({"state": "ready", "conditions": [good], "observedGeneration": "none"})
    assert (read.state, read.conditions, read.observed_generation) == ("ready", (), None)
    assert PGClusterStatus.readable({"state": 5}) == PGClusterStatus()
    assert PGClusterStatus.readable({}) == PGClusterStatus()


def test_the_definition_knows_the_words_of_pg_hba() -> None:
    """Definitions and rules are in layers that do not import each other."""
    assert CONNECTIONS == hba._CONNECTIONS
