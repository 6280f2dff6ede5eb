import re

import pytest

from pgoperator.api import PGCluster
from pgoperator.api.crd import schema
from pgoperator.api.ignored import IGNORED, WITHOUT_OBJECT, ignored_fields
from tests.support.samples import sample
from tests.unit.api.manifests import cluster

# All that the project has left out on purpose; besides, nobody acts on a PerconaPGUpgrade.
LEFT_OUT = (
    "spec.backups.volumeSnapshots",
    *(f"spec.extensions.{field}" for field in ("custom", "image", "imagePullPolicy", "pg_tde", "storage")),
    "spec.logcollector",
    "spec.logicalReplicas",
    "spec.standby",
    "spec.tls.issuerConf",
)


def test_the_condition_can_name_nothing_but_what_is_left_out_on_purpose() -> None:
    assert set(IGNORED) <= set(LEFT_OUT)


@pytest.mark.parametrize("pattern", [*IGNORED, *WITHOUT_OBJECT])
def test_an_ignored_field_exists(pattern: str) -> None:
    node = schema(PGCluster)
    for step in re.findall(r"[^.\[]+|\[\]", pattern):
        node = node["items"] if step == "[]" else node["properties"][step]


def test_the_list_is_sorted_and_no_entry_covers_another() -> None:
    assert list(IGNORED) == sorted(set(IGNORED))
    assert list(WITHOUT_OBJECT) == sorted(WITHOUT_OBJECT)
    both = [*IGNORED, *WITHOUT_OBJECT]
    assert len(both) == len(set(both))
    assert not [(a, b) for a in both for b in both if b.startswith((f"{a}.", f"{a}["))]


def test_a_plain_cluster_ignores_nothing() -> None:
    assert ignored_fields(cluster()) == []


def test_what_is_off_empty_or_default_is_not_named() -> None:
    manifest = cluster(
        pause=False,
        standby={"enabled": False},
        tls={"certManagementPolicy": "auto"},
        pmm={"enabled": False, "image": "pmm", "secret": "s", "serverHost": "h"},
        logcollector={"enabled": False, "image": "fluentbit"},
        extensions={"pg_cron": {"enabled": False}, "custom": []},
        patroni={"switchover": {"enabled": False}},
        dataSource=None,
        secrets={},
    )
    manifest["spec"]["instances"][0] |= {"sidecars": [], "env": None, "containers": {"replicaCertCopy": {}}}
    manifest["spec"]["backups"]["pgbackrest"]["restore"] = {"enabled": False, "repoName": "repo1"}
    assert ignored_fields(manifest) == []


def test_what_is_set_is_named_with_its_place() -> None:
    manifest = cluster(
        pause=True,
        pmm={"enabled": True, "image": "pmm", "secret": "s", "serverHost": "h"},
        logcollector={"image": "fluentbit"},
        extensions={"pg_cron": {"enabled": True}, "pg_audit": {"enabled": False}},
        tls={"certManagementPolicy": "auto", "issuerConf": {"name": "ca"}},
    )
    manifest["spec"]["instances"].append(
        {
            "name": "two",
            "dataVolumeClaimSpec": {},
            "initContainer": {"image": "a"},
            "containers": {"replicaCertCopy": {"resources": {"limits": {}}}},
        }
    )
    assert ignored_fields(manifest) == [
        "spec.logcollector",
        "spec.tls.issuerConf",
    ]


def test_a_usual_cluster_names_the_log_collector() -> None:
    assert ignored_fields(sample("cluster")) == ["spec.logcollector"]
