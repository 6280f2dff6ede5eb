"""What installs the operator: complete, up to date, and no more rights than needed."""

import json
from pathlib import Path

import pytest
import yaml

from pgoperator import generate
from pgoperator.api import KINDS, PGCluster
from pgoperator.api.crd import crd
from pgoperator.api.ignored import ignored_fields
from pgoperator.install import rbac

FILES = generate.files()
ORIGINAL_SIZE = 1_770_000  # bytes of the original's CRDs
ANNOTATION_LIMIT = 262_144  # bytes of all annotations of an object


def documents(path):
    return list(yaml.load_all(FILES[path], Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


@pytest.mark.parametrize("path", FILES)
def test_a_file_in_the_tree_is_what_the_models_give(path):
    assert (generate.ROOT / path).read_text() == FILES[path], "run `make generate`"


def test_generating_again_gives_the_same(tmp_path):
    generate.write(tmp_path)
    written = {
        str(file.relative_to(tmp_path)): file.read_text() for file in tmp_path.rglob("*.*") if file.is_file()
    }
    assert written == FILES


def test_a_file_of_a_kind_that_went_away_is_deleted(tmp_path):
    stale = tmp_path / "manifests" / "crds" / "old.yaml"
    stale.parent.mkdir(parents=True)
    stale.touch()
    generate.write(tmp_path)
    assert not stale.exists()


def test_the_crds_are_far_smaller_than_the_original():
    assert sum(len(FILES[f"manifests/crds/{kind.NAMES.plural}.yaml"]) for kind in KINDS) < ORIGINAL_SIZE / 2


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.NAMES.kind)
def test_a_crd_fits_into_the_annotation_of_kubectl_apply(kind):
    name = "kubectl.kubernetes.io/last-applied-configuration"
    assert len(json.dumps(crd(kind), separators=(",", ":"))) + len(name) + 1 < ANNOTATION_LIMIT


def test_the_bundle_installs_into_any_namespace():
    bundle = documents("manifests/bundle.yaml")
    kinds = [document["kind"] for document in bundle]
    assert kinds == ["CustomResourceDefinition"] * 4 + ["ServiceAccount", "Role", "RoleBinding", "Deployment"]
    assert not [document for document in bundle if "namespace" in document["metadata"]]
    assert "namespace" not in bundle[6]["subjects"][0]


def test_the_cluster_wide_bundle_names_its_namespace_once():
    bundle = documents("manifests/cw-bundle.yaml")
    assert [document["kind"] for document in bundle[4:]] == [
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Deployment",
    ]
    assert bundle[6]["subjects"][0]["namespace"] == "postgres-operator"
    assert not [document for document in bundle if "namespace" in document["metadata"]]


@pytest.mark.parametrize("prefix", ["", "cw-"])
def test_no_permission_has_a_wildcard_or_is_given_twice(prefix):
    role = documents(f"manifests/{prefix}rbac.yaml")[1]
    seen = set()
    for rule in role["rules"]:
        assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]
        for resource in rule["resources"]:
            assert (rule["apiGroups"][0], resource) not in seen
            seen.add((rule["apiGroups"][0], resource))
    assert ("", "nodes") not in seen


def test_only_what_the_operator_creates_may_be_deleted_or_created():
    by_resource = {name: rule.verbs for rule in rbac.RULES for name in rule.resources}
    assert "create" not in by_resource["pods"]
    assert "delete" not in by_resource["perconapgclusters"]
    assert set(by_resource["events"]) == {"create", "list", "patch"}
    assert not [name for name, verbs in by_resource.items() if "escalate" in verbs or "impersonate" in verbs]


@pytest.mark.parametrize(("prefix", "watched"), [("", None), ("cw-", "")])
def test_the_deployment_is_a_drop_in_and_restricted(prefix, watched):
    (deployment,) = documents(f"manifests/{prefix}operator.yaml")
    assert deployment["metadata"]["name"] == "percona-postgresql-operator"
    spec = deployment["spec"]
    assert spec["strategy"] == {"type": "Recreate"}
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert container["name"] == "operator"
    assert pod["serviceAccountName"] == "percona-postgresql-operator"
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    assert spec["template"]["metadata"]["labels"]["pgv2.percona.com/control-plane"] == "postgres-operator"
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {
        "metrics": 8080,
        "health": 8081,
    }
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    environment = {variable["name"]: variable for variable in container["env"]}
    assert environment["WATCH_NAMESPACE"].get("value") == watched
    assert environment["OPERATOR_NAMESPACE"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.namespace"


def test_the_settings_of_the_deployment_are_understood():
    from pgoperator.settings import Settings

    (deployment,) = documents("manifests/cw-operator.yaml")
    variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    settings = Settings.from_env({v["name"]: v.get("value", "somewhere") for v in variables})
    assert settings.namespaces == ()
    assert settings.operator_namespace == "somewhere"
    assert settings.lease.duration == 15
    assert settings.related_image("postgres", 18).endswith(":18.4-1")
    assert settings.related_image("pgbouncer")
    assert settings.related_image("pgbackrest")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.NAMES.kind)
def test_every_field_of_ours_says_what_it_is_for(kind):
    from pgoperator.api.crd import schema

    def walk(node, path):
        for name, child in node.get("properties", {}).items():
            if f"{path}.{name}" != ".metadata":
                assert child.get("description", "").endswith("."), f"{path}.{name}"
            walk(child, f"{path}.{name}")
        if "items" in node:
            walk(node["items"], f"{path}[]")

    walk(schema(kind, expand=False), "")


def test_the_example_is_a_cluster_that_the_operator_acts_on_in_full():
    manifest = yaml.safe_load((Path(generate.ROOT) / "manifests/examples/cluster1.yaml").read_text())
    cluster = PGCluster.parse(manifest)
    assert cluster.spec.replicas == cluster.spec.pg_bouncer.replicas == 3
    assert ignored_fields(manifest) == []
