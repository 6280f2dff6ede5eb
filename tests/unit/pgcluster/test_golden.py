"""What each step makes, to the letter: `tests/golden/<step>/<variant>.yaml`."""

import pytest

from pgoperator import naming
from pgoperator.kube.manifest import Manifest
from pgoperator.runtime.result import Wait
from reconcilers import files
from reconcilers.pgcluster import pipeline
from tests.support import golden
from tests.support.golden import assert_golden
from tests.support.views import NAMESPACE, view
from tests.unit.pgcluster.specs import VARIANTS, instances

# One instance shows what three would.
PER_INSTANCE = ("configuration", "repository", "instances")
CASES: dict[str, tuple[str, ...]] = {
    "rbac": ("default", "metadata", "no-backups", "openshift"),
    "services": ("default", "metadata", "one-instance", "load-balancer", "node-port", "ports"),
    "configuration": (
        "default",
        "no-backups",
        "patroni",
        "extensions",
        "huge-pages",
        "two-sets",
        "authentication",
        "volumes",
        "copies",
        "failover-slots",
        "pmm",
    ),
    "repository": (
        *("default", "metadata", "s3-only", "all-repos", "placed-repo-host", "no-backups", "ports"),
        *("images", "openshift", "one-instance", "added"),
    ),
    "instances": (
        *("default", "metadata", "one-instance", "two-sets", "no-backups", "ports", "patroni", "images"),
        *("openshift", "own-security", "version", "added", "volumes", "files", "pmm"),
    ),
    "pgbouncer": (
        *("default", "metadata", "no-pooler", "placed-pooler", "pooler-config", "ports", "load-balancer"),
        *("node-port", "images", "own-security", "pooler-added", "pooler-own-ini"),
    ),
    "disruption": (
        "default",
        "metadata",
        "one-instance",
        "two-sets",
        "no-pooler",
        "budgets",
        "placed-pooler",
    ),
}


def without_scripts(manifests: list[Manifest]) -> list[Manifest]:
    """The scripts have tests of their own; here only their names are of interest."""
    for manifest in manifests:
        if manifest["kind"] == "ConfigMap" and manifest["metadata"]["name"].endswith("-scripts"):
            manifest["data"] = dict.fromkeys(manifest["data"], "...")
    return manifests


@pytest.mark.parametrize(("step", "variant"), [(step, one) for step, many in CASES.items() for one in many])
def test_a_step_makes_what_the_file_says(step: str, variant: str) -> None:
    spec = VARIANTS[variant]
    if step in PER_INSTANCE and variant != "default":
        spec = {"instances": instances()} | spec
    manifests = pipeline.BUILDERS[step](view(**spec))
    assert isinstance(manifests, list)
    assert_golden(without_scripts(manifests), f"{step}/{variant}")


def test_the_endpoints_of_the_primary_hold_the_address_of_the_leader_s_service() -> None:
    leader = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": naming.patroni_scope("cluster1"), "namespace": NAMESPACE},
        "spec": {"clusterIP": "10.96.0.7"},
    }
    manifests = pipeline.BUILDERS["services"](view([leader]))
    assert not isinstance(manifests, Wait)
    assert_golden(manifests, "services/leader")


def test_every_step_has_cases() -> None:
    assert set(CASES) == set(pipeline.BUILDERS)


def test_no_file_is_left_over() -> None:
    wanted = {f"{step}/{variant}" for step, many in CASES.items() for variant in many} | {"services/leader"}
    found = {
        str(path.relative_to(golden.DIRECTORY).with_suffix("")) for path in golden.DIRECTORY.rglob("*.yaml")
    }
    own = ("charts/", "pgbackup/", "adoption/", "frozen/")
    assert {name for name in found if not name.startswith(own)} == wanted


def test_the_scripts_are_those_of_the_package() -> None:
    """The steps' commands and the scripts' calls of each other find what they name."""
    manifests = pipeline.BUILDERS["configuration"](view())
    assert not isinstance(manifests, Wait)
    [scripts] = [m for m in manifests if m["metadata"]["name"] == naming.scripts("cluster1")]
    pooler = {"pooler": "cluster1-pgbouncer.ns1.svc 5432\n"}
    assert scripts["data"] == {name: files.read(name) for name in files.SCRIPTS} | pooler
