"""What installs the operator: complete, up to date, and no more rights than needed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgoperator import generate, labels
from pgoperator.api import KINDS, PGCluster, Resource
from pgoperator.api.crd import crd
from pgoperator.api.ignored import ignored_fields
from pgoperator.install import deployment, keys, rbac
from pgoperator.kube import kinds
from reconcilers.pgbackup.watches import watches as watches_of_backups
from reconcilers.pgcluster.watches import watches as watches_of_clusters
from reconcilers.pgrestore.watches import watches as watches_of_restores

FILES = generate.files()
PERCONA_SIZE = 1_770_000  # bytes of Percona Operator's CRDs
ANNOTATION_LIMIT = 262_144  # bytes of all annotations of an object


def documents(path: str) -> list[Any]:
    return list(yaml.load_all(FILES[path], Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


@pytest.mark.parametrize("path", FILES)
def test_a_file_in_the_tree_is_what_the_models_give(path: str) -> None:
    assert (generate.ROOT / path).read_text() == FILES[path], "run `make generate`"


def test_generating_again_gives_the_same(tmp_path: Path) -> None:
    generate.write(tmp_path)
    written = {
        str(file.relative_to(tmp_path)): file.read_text() for file in tmp_path.rglob("*.*") if file.is_file()
    }
    assert written == FILES


def test_a_file_of_a_kind_that_went_away_is_deleted(tmp_path: Path) -> None:
    stale = tmp_path / "manifests" / "crds" / "old.yaml"
    stale.parent.mkdir(parents=True)
    stale.touch()
    generate.write(tmp_path)
    assert not stale.exists()


def test_checking_names_what_is_out_of_date_and_writes_nothing(tmp_path: Path) -> None:
    generate.write(tmp_path)
    assert generate.outdated(tmp_path) == []
    changed, stale, missing = "docs/reference/settings.md", "manifests/crds/old.yaml", "manifests/bundle.yaml"
    (tmp_path / changed).write_text("changed")
    (tmp_path / stale).touch()
    (tmp_path / missing).unlink()
    assert generate.outdated(tmp_path) == sorted([changed, stale, missing])
    assert (tmp_path / changed).read_text() == "changed"
    assert not (tmp_path / missing).exists()


def test_the_command_checks_or_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate.main([str(tmp_path)]) == 0
    assert generate.outdated(tmp_path) == []
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "outdated", lambda folder: ["one"] if folder == tmp_path else [])
    assert generate.main(["--check"]) == 1
    assert "make generate" in capsys.readouterr().err


def test_the_image_of_the_manifests_cannot_be_pulled() -> None:
    """Reserved for names that do not exist (RFC 2606): nobody can publish under it."""
    assert deployment.IMAGE.split("/")[0].endswith(".invalid")


def test_every_key_of_ours_is_explained() -> None:
    explained = {key.name for key in keys.documented()}
    values = {
        name: value for name, value in vars(labels).items() if name.isupper() and isinstance(value, str)
    }
    ours = {value for value in values.values() if re.search(r"percona.com/.|crunchydata.com/.", value)}
    assert ours <= explained
    code = "\n".join(path.read_text() for path in (generate.ROOT / "reconcilers").rglob("*.py"))
    for prefix, suffix in re.findall(r'labels\.(PERCONA|CRUNCHY) \+ "([^"]+)"', code):
        assert getattr(labels, prefix) + suffix in explained


def test_the_crds_are_far_smaller_than_those_of_percona_operator() -> None:
    assert sum(len(FILES[f"manifests/crds/{kind.NAMES.plural}.yaml"]) for kind in KINDS) < PERCONA_SIZE / 2


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.NAMES.kind)
def test_a_crd_fits_into_the_annotation_of_kubectl_apply(kind: type[Resource]) -> None:
    name = "kubectl.kubernetes.io/last-applied-configuration"
    assert len(json.dumps(crd(kind), separators=(",", ":"))) + len(name) + 1 < ANNOTATION_LIMIT


def test_the_bundle_installs_into_any_namespace() -> None:
    bundle = documents("manifests/bundle.yaml")
    kinds = [document["kind"] for document in bundle]
    assert kinds == ["CustomResourceDefinition"] * 4 + ["ServiceAccount", "Role", "RoleBinding", "Deployment"]
    assert not [document for document in bundle if "namespace" in document["metadata"]]
    assert "namespace" not in bundle[6]["subjects"][0]


def test_the_cluster_wide_bundle_names_its_namespace_once() -> None:
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
def test_no_permission_has_a_wildcard_or_is_given_twice(prefix: str) -> None:
    role = documents(f"manifests/{prefix}rbac.yaml")[1]
    seen = set()
    for rule in role["rules"]:
        assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]
        for resource in rule["resources"]:
            assert (rule["apiGroups"][0], resource) not in seen
            seen.add((rule["apiGroups"][0], resource))
    assert ("", "nodes") not in seen


def test_the_operator_may_use_every_kind_that_it_watches_or_prunes() -> None:
    """A kind without its rule fails at the first list, and then no cluster is reconciled at all."""
    by_resource = {name: set(rule.verbs) for rule in rbac.RULES for name in rule.resources}
    found = (*watches_of_clusters({}), *watches_of_backups(lambda *_: ()), *watches_of_restores(lambda _: ()))
    watched = {watch.kind for watch in found}
    assert kinds.PG_CLUSTER in watched
    missing = {kind.kind for kind in watched if not {"list", "watch"} <= by_resource.get(kind.plural, set())}
    missing |= {
        kind.kind for kind in kinds.PRUNABLE if not set(rbac.OWN) <= by_resource.get(kind.plural, set())
    }
    assert missing == set()


def test_only_what_the_operator_creates_may_be_deleted_or_created() -> None:
    by_resource = {name: rule.verbs for rule in rbac.RULES for name in rule.resources}
    assert "create" not in by_resource["pods"]
    assert "delete" not in by_resource["perconapgclusters"]
    assert set(by_resource["events"]) == {"create", "list", "patch"}
    assert not [name for name, verbs in by_resource.items() if "escalate" in verbs or "impersonate" in verbs]


@pytest.mark.parametrize(("prefix", "watched"), [("", None), ("cw-", "")])
def test_the_deployment_is_a_drop_in_and_restricted(prefix: str, watched: str | None) -> None:
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


def test_the_settings_of_the_deployment_are_understood() -> None:
    from pgoperator.settings import Settings

    (deployment,) = documents("manifests/cw-operator.yaml")
    variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    settings = Settings.from_env({v["name"]: v.get("value", "somewhere") for v in variables})
    assert settings.namespaces == ()
    assert settings.operator_namespace == "somewhere"
    assert settings.lease.duration == 15
    assert (settings.related_image("postgres", 18) or "").endswith(":18.6.1-1")
    assert settings.related_image("pgbouncer")
    assert settings.related_image("pgbackrest")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.NAMES.kind)
def test_every_field_of_ours_says_what_it_is_for(kind: type[Resource]) -> None:
    from pgoperator.api.crd import schema

    def walk(node: dict[str, Any], path: str) -> None:
        for name, child in node.get("properties", {}).items():
            if f"{path}.{name}" != ".metadata":
                assert child.get("description", "").endswith("."), f"{path}.{name}"
            walk(child, f"{path}.{name}")
        if "items" in node:
            walk(node["items"], f"{path}[]")

    walk(schema(kind, expand=False), "")


def test_the_example_is_a_cluster_that_the_operator_acts_on_in_full() -> None:
    manifest = yaml.safe_load((Path(generate.ROOT) / "manifests/examples/cluster1.yaml").read_text())
    cluster = PGCluster.parse(manifest)
    assert cluster.spec.pg_bouncer is not None
    assert cluster.spec.replicas == cluster.spec.pg_bouncer.replicas == 3
    assert ignored_fields(manifest) == []
