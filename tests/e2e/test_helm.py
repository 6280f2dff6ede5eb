"""Both charts with a real Helm: install, upgrade, roll back, uninstall; definitions and data stay."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from local import images
from local.cluster import nodes_of_state
from local.versions import POSTGRES_MAJOR
from pgoperator.api import GROUP
from tests.support.clusters import KIND, Cluster, small
from tests.support.helm import CHARTS, HelmError, helm
from tests.support.kubectl import Kubectl, KubectlError, condition, is_ready, until
from tests.support.namespaces import empty, temporary_namespace
from tests.support.operators import product_images

OPERATOR, DATABASE = "my-operator", "shop"
DEPLOYMENT = f"{OPERATOR}-pg-operator"
WAIT = ("--wait", "--timeout=120s")


class Helm:
    """Helm in a namespace, with values from files."""

    def __init__(self, kubectl: Kubectl, folder: Path) -> None:
        self._where = (f"--kubeconfig={kubectl.config}", f"--namespace={kubectl.namespace}")
        self._folder = folder

    def __call__(self, verb: str, release: str, *arguments: str | Path, **values: Any) -> str:
        """Run a command for a release; keywords are values of the chart."""
        given: list[str] = []
        if values:
            file = self._folder / f"{release}.yaml"
            file.write_text(yaml.safe_dump(values), encoding="utf-8")
            given = [f"--values={file}"]
        return helm(verb, release, *arguments, *given, *self._where, seconds=180)


@pytest.fixture(scope="module")
def run(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Helm]:
    """Helm in the module's namespace; its clusters are deleted while their operator runs."""
    yield Helm(kubectl, tmp_path_factory.mktemp("helm"))
    empty(kubectl)


def operator_values() -> dict[str, Any]:
    return {"image": images.OPERATOR, "relatedImages": product_images(POSTGRES_MAJOR)}


def database_values(work_mem: str) -> dict[str, Any]:
    """Values of a small cluster with the operator's default images."""
    spec = small(DATABASE)["spec"]
    spec["patroni"] = {"dynamicConfiguration": {"postgresql": {"parameters": {"work_mem": work_mem}}}}
    spec["image"] = None
    spec["proxy"]["pgBouncer"]["image"] = None
    spec["backups"] = {"enabled": False, "pgbackrest": {"image": None}}
    return {"fullnameOverride": DATABASE, **spec}


@pytest.fixture(scope="module")
def operator(run: Helm, kubectl: Kubectl) -> str:
    """The operator from its chart; the name of its Deployment."""
    run("install", OPERATOR, CHARTS / "pg-operator", *WAIT, **operator_values())
    return DEPLOYMENT


@pytest.fixture(scope="module")
def cluster(run: Helm, kubectl: Kubectl, operator: str) -> Cluster:
    """A cluster from its chart, ready."""
    said = run("install", DATABASE, CHARTS / "pg-db", **database_values("5MB"))
    assert f"kubectl wait pg/{DATABASE}" in said
    cluster = Cluster(kubectl, small(DATABASE))
    cluster.wait_ready(240)
    return cluster


def definitions(kubectl: Kubectl) -> dict[str, str]:
    found = kubectl.items("customresourcedefinitions")
    return {
        d["metadata"]["name"]: d["metadata"]["uid"] for d in found if d["metadata"]["name"].endswith(GROUP)
    }


def settled(cluster: Cluster, work_mem: str) -> None:
    """Wait until resource and server have a value."""

    def has() -> bool:
        return cluster.is_ready() and cluster.psql("SHOW work_mem") == work_mem

    until(f"work_mem is {work_mem}", has, 120, cluster.explain)
    patroni = cluster.cr()["spec"]["patroni"]
    assert patroni["dynamicConfiguration"]["postgresql"]["parameters"]["work_mem"] == work_mem


@pytest.fixture(scope="module")
def next_image() -> Iterator[str]:
    """The operator's image under another name, on every node."""
    name, nodes = f"{images.OPERATOR}-next-{os.getpid()}", nodes_of_state()
    for node in nodes:
        node.containerd.ctr("images", "tag", images.OPERATOR, name)
    yield name
    for node in nodes:
        node.containerd.ctr("images", "remove", name)


def upgrade(run: Helm, *values: str, wait: tuple[str, ...] = WAIT) -> None:
    given = [f"--set={value}" for value in values]
    run("upgrade", OPERATOR, CHARTS / "pg-operator", "--reset-then-reuse-values", *given, *wait)


def running(kubectl: Kubectl) -> str:
    """The image of the operator's one pod that is ready."""
    pods = kubectl.items("pods", f"app.kubernetes.io/instance={OPERATOR}")
    [pod] = [pod for pod in pods if is_ready(pod)]
    return str(pod["spec"]["containers"][0]["image"])


def test_a_change_and_back(run: Helm, cluster: Cluster) -> None:
    settled(cluster, "5MB")
    assert condition(cluster.cr(), "FieldsIgnored").get("status") != "True"
    before = cluster.restarts()
    run("upgrade", DATABASE, CHARTS / "pg-db", **database_values("6MB"))
    settled(cluster, "6MB")
    run("rollback", DATABASE, "1")
    settled(cluster, "5MB")
    assert cluster.restarts() == before


def test_the_operator_is_upgraded_and_no_database_restarts(
    run: Helm, kubectl: Kubectl, cluster: Cluster, operator: str, next_image: str
) -> None:
    before = cluster.restarts()

    def level() -> str:
        [container] = kubectl.get("deployment", operator)["spec"]["template"]["spec"]["containers"]
        return str(next(e["value"] for e in container["env"] if e["name"] == "LOG_LEVEL"))

    upgrade(run, "logLevel=DEBUG", f"image={next_image}")
    assert (level(), running(kubectl)) == ("DEBUG", next_image)
    run("rollback", OPERATOR, "1", *WAIT)
    assert (level(), running(kubectl)) == ("INFO", images.OPERATOR)
    cluster.wait_ready()
    assert cluster.restarts() == before


def test_an_upgrade_to_an_image_that_is_not_there_is_rolled_back(
    run: Helm, kubectl: Kubectl, cluster: Cluster, operator: str
) -> None:
    before = cluster.restarts()
    with pytest.raises(HelmError, match=r"not ready|context deadline exceeded"):
        upgrade(run, f"image={images.OPERATOR}-absent", wait=("--wait", "--timeout=15s"))
    assert cluster.psql("SELECT 1") == "1"
    run("rollback", OPERATOR, "1", *WAIT)
    assert running(kubectl) == images.OPERATOR
    cluster.wait_ready()
    assert cluster.restarts() == before


def test_watching_another_namespace_needs_no_more_here_than_a_lease(
    run: Helm, admin: Kubectl, kubectl: Kubectl
) -> None:
    with temporary_namespace(admin, f"e2e-helm-far-{os.getpid() % 10000}") as far:
        values = operator_values() | {"watchNamespace": far.namespace, "leaseName": "far"}
        run("install", "far", CHARTS / "pg-operator", *WAIT, **values)

        def leads() -> bool:
            lease = kubectl.find("lease", "far")
            return bool(lease and lease["spec"].get("holderIdentity"))

        until("it leads", leads, 60, lambda: kubectl.logs("deployment/far-pg-operator"))
        far.apply(small("distant", pause=True))

        def seen() -> Any:
            return far.get(KIND, "distant").get("status", {}).get("conditions")

        until("it sees a cluster there", seen, 60, lambda: kubectl.logs("deployment/far-pg-operator"))
        empty(far)
        log = kubectl.logs("deployment/far-pg-operator")
        run("uninstall", "far", *WAIT)
        assert "forbidden" not in log, log


def test_everywhere(run: Helm, kubectl: Kubectl) -> None:
    """Only the permissions, without a pod: a cluster-wide operator would act on other tests' clusters."""
    wide = operator_values() | {"watchAllNamespaces": True, "replicaCount": 0}
    run("install", "wide", CHARTS / "pg-operator", **wide)
    account = f"--as=system:serviceaccount:{kubectl.namespace}:wide-pg-operator"
    assert kubectl.run("auth", "can-i", "create", "statefulsets", "-n", "default", account).strip() == "yes"
    run("uninstall", "wide", *WAIT)
    with pytest.raises(KubectlError):
        kubectl.run("auth", "can-i", "create", "statefulsets", "-n", "default", account)


def test_uninstall_keeps_definitions_volumes_and_secrets(
    run: Helm, kubectl: Kubectl, cluster: Cluster
) -> None:
    served = definitions(kubectl)
    assert len(served) >= 4
    kept = "persistentvolumeclaims", cluster.selector
    claims, passwords = kubectl.names(*kept), cluster.credentials()
    assert claims
    run("uninstall", DATABASE)

    def gone() -> bool:
        return not cluster.pods() and not kubectl.find(KIND, DATABASE)

    until("the cluster is gone", gone, 120, cluster.explain)
    assert kubectl.names(*kept) == claims
    assert cluster.credentials() == passwords

    run("install", DATABASE, CHARTS / "pg-db", **database_values("5MB"))
    cluster.wait_ready(240)
    run("uninstall", DATABASE)
    until("the cluster is gone", gone, 120, cluster.explain)

    run("uninstall", OPERATOR, *WAIT)
    left = kubectl.names("deployments,roles,rolebindings", "app.kubernetes.io/managed-by=Helm")
    assert left == []
    assert definitions(kubectl) == served
