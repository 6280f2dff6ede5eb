"""The charts' objects, rendered by Helm: equal to the manifests, and accepted by the API server."""

from collections.abc import Iterable
from typing import Any

import pytest
import yaml

from pgoperator import __version__
from pgoperator.api import PGCluster
from pgoperator.api.ignored import ignored_fields
from pgoperator.install import rbac
from pgoperator.install.deployment import IMAGE, deployment
from pgoperator.kube.manifest import Manifest
from tests.support.golden import assert_golden
from tests.support.helm import CHARTS, HelmError, helm, render
from tests.support.kubectl import REPOSITORY
from tests.unit.charts.percona import VALUES

pytestmark = pytest.mark.api
OPERATOR, DATABASE = "pg-operator", "pg-db"
NAME = "my-pg-operator"


def of_kind(kind: str, manifests: Iterable[Manifest]) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def of_operator(values: Manifest | None = None) -> list[Manifest]:
    """The objects of the operator's chart with the image of the manifests."""
    return render(OPERATOR, {"image": IMAGE} | (values or {}))


def plain(node: Any) -> Any:
    """An object without intended differences: names, labels, and the order of variables."""
    if isinstance(node, list):
        return [plain(item) for item in node]
    if not isinstance(node, dict):
        return NAME if node == rbac.NAME else node
    kept = {key: plain(value) for key, value in node.items() if key not in ("labels", "matchLabels")}
    if "env" in kept:
        kept["env"] = sorted(kept["env"], key=lambda variable: str(variable["name"]))
    return kept


@pytest.mark.parametrize("chart", [OPERATOR, DATABASE])
def test_lint(chart: str) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", CHARTS / chart)


@pytest.mark.parametrize("cluster_wide", [False, True])
def test_the_operator_is_that_of_the_manifests(cluster_wide: bool) -> None:
    [ours] = of_kind("Deployment", of_operator({"watchAllNamespaces": cluster_wide}))
    assert ours["metadata"].pop("namespace") == "databases"
    assert plain(ours) == plain(deployment(cluster_wide=cluster_wide))


def test_an_image_is_named_by_its_repository_or_as_a_whole() -> None:
    for values, image in (
        ({"operatorImageRepository": "example.com/operator"}, f"example.com/operator:{__version__}"),
        ({"operatorImageRepository": "example.com/operator", "image": "mine:1"}, "mine:1"),
    ):
        [operator] = of_kind("Deployment", render(OPERATOR, values))
        assert operator["spec"]["template"]["spec"]["containers"][0]["image"] == image


def test_the_rights_are_those_of_the_manifests() -> None:
    namespaced, everywhere = of_operator(), of_operator({"watchAllNamespaces": True})
    [role] = of_kind("Role", namespaced)
    assert role["rules"] == rbac.role(cluster_wide=False)["rules"]
    [cluster_role] = of_kind("ClusterRole", everywhere)
    assert cluster_role["rules"] == rbac.role(cluster_wide=True)["rules"]
    assert of_kind("ClusterRole", namespaced) == of_kind("Role", everywhere) == []


def test_a_certificate_for_the_metrics_is_mounted_and_the_right_to_ask_comes_with_it() -> None:
    manifests = of_operator({"metrics": {"certSecret": "metrics-tls"}})
    pod = of_kind("Deployment", manifests)[0]["spec"]["template"]["spec"]
    [container], [volume] = pod["containers"], pod["volumes"]
    [mount] = container["volumeMounts"]
    assert volume == {"name": mount["name"], "secret": {"secretName": "metrics-tls"}}
    assert {"name": "PGO_METRICS_CERT_DIR", "value": mount["mountPath"]} in container["env"]
    binding, reader = rbac.secure_metrics()
    [ours] = of_kind("ClusterRoleBinding", manifests)
    assert ours["roleRef"] == binding["roleRef"]
    assert ours["subjects"] == [{"kind": "ServiceAccount", "name": NAME, "namespace": "databases"}]
    assert [role["rules"] for role in of_kind("ClusterRole", manifests)] == [reader["rules"]]


def test_watched_namespaces_get_a_role_each_and_the_own_one_only_the_lease() -> None:
    manifests = of_operator({"watchNamespace": "one, two"})
    roles = {role["metadata"]["namespace"]: role["rules"] for role in of_kind("Role", manifests)}
    full = rbac.role(cluster_wide=False)["rules"]
    assert roles.keys() == {"one", "two", "databases"}
    assert roles["one"] == roles["two"] == full
    assert {resource for rule in roles["databases"] for resource in rule["resources"]} == {"leases", "events"}
    assert {b["subjects"][0]["namespace"] for b in of_kind("RoleBinding", manifests)} == {"databases"}
    [operator] = of_kind("Deployment", manifests)
    environment = operator["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "WATCH_NAMESPACE", "value": "one,two"} in environment


@pytest.mark.parametrize(
    ("golden", "values"),
    [
        ("default", {}),
        ("cluster-wide", {"watchAllNamespaces": True}),
        (
            "all-values",
            {
                "image": "registry.example.com/operator:1",
                "imagePullPolicy": "Always",
                "imagePullSecrets": [{"name": "pull"}],
                "watchNamespace": "one,databases",
                "fullnameOverride": "the-operator",
                "nodeSelector": {"role": "operators"},
                "podAnnotations": {"note": "x"},
                "affinity": {"nodeAffinity": {}},
                "leaseName": "mine",
                "metrics": {"certSecret": "metrics-tls"},
                "featureGates": {"backupSnapshots": True, "tablespaceVolumes": False},
                "disableTelemetry": True,
                "pprofBindAddress": ":6060",
            },
        ),
    ],
)
def test_golden_operator(golden: str, values: Manifest) -> None:
    assert_golden(of_operator(values), f"charts/pg-operator-{golden}")


@pytest.mark.parametrize(("golden", "values"), [("default", {}), ("percona", VALUES)])
def test_golden_database(golden: str, values: Manifest) -> None:
    assert_golden(render(DATABASE, values), f"charts/pg-db-{golden}")


@pytest.mark.parametrize(
    ("release", "values", "name"),
    [
        ("my", {}, "my-pg-db"),
        ("a-pg-db", {}, "a-pg-db"),
        ("a-release-with-a-long-name", {}, "a-release-with-a-long"),
        ("twenty-characters-xx", {}, "twenty-characters-xx"),
        ("my", {"nameOverride": "db"}, "my-db"),
        ("my", {"fullnameOverride": "cluster1"}, "cluster1"),
    ],
)
def test_name(release: str, values: Manifest, name: str) -> None:
    [cluster] = render(DATABASE, values, release=release)
    assert cluster["metadata"]["name"] == name


def test_every_field_of_the_spec_can_be_set() -> None:
    """Fields that Percona's chart does not pass on stand for all: the template lists no field."""
    values: Manifest = {
        "logcollector": {"enabled": True, "image": "fluentbit:1"},
        "tls": {"certValidityDuration": "2160h"},
        "extensions": {"pgvector": {"enabled": True}},
        "pmm": {"postgresParams": "--x", "image": "pmm:1", "secret": "own"},
        "secrets": {"customTLSSecret": {"name": "by-its-path"}},
        "customReplicationTLSSecret": {"name": "by-its-value"},
    }
    [cluster] = render(DATABASE, values)
    spec = cluster["spec"]
    for field in ("logcollector", "tls", "extensions"):
        assert spec[field] == values[field]
    assert spec["pmm"] == {"enabled": False, "serverHost": "monitoring-service", **values["pmm"]}
    assert spec["secrets"] == {
        "customTLSSecret": {"name": "by-its-path"},
        "customReplicationTLSSecret": {"name": "by-its-value"},
    }


@pytest.mark.parametrize(
    ("chart", "values", "said"),
    [
        (DATABASE, {"instanses": []}, "instanses"),
        (DATABASE, {"proxy": {"pgBouncer": {"replica": 1}}}, "replica"),
        (DATABASE, {"postgresVersion": "17"}, "postgresVersion"),
        (DATABASE, {"postgresVersion": 9}, "postgresVersion"),
        (OPERATOR, {"logLevel": "LOUD"}, "logLevel"),
        (OPERATOR, {"relatedImages": {"POSTGRES_17": "x"}}, "POSTGRES_17"),
        (OPERATOR, {"watchNamespace": "A b"}, "watchNamespace"),
        (OPERATOR, {"metrics": {"certsecret": "x"}}, "certsecret"),
        (OPERATOR, {}, "the operator's image is not published yet"),
    ],
)
def test_a_wrong_value_is_rejected_by_name(chart: str, values: Manifest, said: str) -> None:
    with pytest.raises(HelmError, match=said):
        render(chart, values)


@pytest.mark.parametrize("values", [{}, VALUES], ids=["default", "percona"])
def test_the_cluster_is_valid(values: Manifest) -> None:
    PGCluster.model_validate(render(DATABASE, values)[0])


def test_the_defaults_say_nothing_that_is_ignored() -> None:
    assert ignored_fields(render(DATABASE)[0]) == []


def test_the_spec_of_the_example_is_a_file_of_values() -> None:
    example = yaml.safe_load((REPOSITORY / "manifests/examples/cluster1.yaml").read_text(encoding="utf-8"))
    [cluster] = render(DATABASE, example["spec"])
    for field in ("instances", "postgresVersion"):
        assert cluster["spec"][field] == example["spec"][field]
