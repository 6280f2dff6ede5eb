import base64
import ipaddress
import json
import os
import subprocess
import sys
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import pytest
import yaml

from local import bins, containerd, install, kubeconfig, network, pip_config
from local.console import LocalError
from local.demo import client_pod, summary
from local.paths import REPOSITORY, ours
from local.versions import MODULES


def test_kubeconfig_is_yaml_with_its_own_certificates() -> None:
    config = yaml.safe_load(kubeconfig.render("https://10.0.0.1:6443", b"CA", b"CERT", b"KEY"))
    (cluster,) = config["clusters"]
    (user,) = config["users"]
    assert cluster["cluster"]["server"] == "https://10.0.0.1:6443"
    assert base64.b64decode(cluster["cluster"]["certificate-authority-data"]) == b"CA"
    assert base64.b64decode(user["user"]["client-certificate-data"]) == b"CERT"
    assert base64.b64decode(user["user"]["client-key-data"]) == b"KEY"
    (context,) = config["contexts"]
    assert config["current-context"] == context["name"]
    assert context["context"] == {"cluster": cluster["name"], "user": user["name"]}


def test_kubeconfig_of_a_person_is_foreign_and_our_own_is_not() -> None:
    assert kubeconfig.foreign({}) == ""
    assert kubeconfig.foreign({"KUBECONFIG": ""}) == ""
    assert kubeconfig.foreign({"KUBECONFIG": str(ours())}) == ""
    assert kubeconfig.foreign({"KUBECONFIG": "/etc/other"}) == "/etc/other"


def test_parts_of_kubernetes_are_replaced_by_their_published_modules() -> None:
    required = [
        {"Path": "k8s.io/api", "Version": "v0.0.0"},
        {"Path": "k8s.io/klog/v2", "Version": "v2.130.1"},
        {"Path": "github.com/spf13/cobra", "Version": "v0.0.0"},
    ]
    module = MODULES["kubernetes"]
    replacements = bins.staging_replacements({"Require": required}, module.staging_version)
    assert replacements == {"k8s.io/api": "v0.34.4"}
    text = bins.go_mod_text(module, replacements)
    assert "require k8s.io/kubernetes v1.34.4\n" in text
    assert "replace k8s.io/api => k8s.io/api v0.34.4\n" in text


def test_pod_network_of_a_node_is_its_subnet_without_masquerade(tmp_path: Path) -> None:
    bridge, _ = json.loads(containerd.cni_config(2, tmp_path))["plugins"]
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.244.2.0/24"}]]
    assert bridge["ipMasq"] is False


def test_nodes_have_addresses_of_their_own() -> None:
    nodes = range(1, network.MAX_NODES + 1)
    assert len({network.node_address(index) for index in nodes} | {network.GATEWAY}) == network.MAX_NODES + 1
    assert network.node_address(1) == "10.98.0.11"


def place(number: str) -> dict[str, list[str]]:
    """Names, addresses and folders of the local cluster with a number, as another process sees them."""
    script = """
import json
from local import network, paths
print(json.dumps({
    "names": [network.BRIDGE, network.namespace(network.node_name(network.MAX_NODES))],
    "prefixes": [network.namespace("")],
    "folders": [f"{paths.RUN}/", f"{paths.NODES}/"],
    "networks": [f"{network.GATEWAY}/24", network.SERVICE_RANGE, network.POD_RANGE],
}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env=os.environ | {"PGOPERATOR_INSTANCE": number},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_interface_names_fit_the_kernel() -> None:
    assert [name for number in "09" for name in place(number)["names"] if len(name) > 15] == []


def test_clusters_of_two_numbers_have_nothing_in_common() -> None:
    found = [place(number) for number in ("", "1", "9")]
    for one, other in permutations(found, 2):
        for prefix in one["prefixes"]:
            assert not [name for name in other["names"] if name.startswith(prefix)]
        assert not set(one["names"]) & set(other["names"])
        for folder in one["folders"]:
            assert not [path for path in other["folders"] if path.startswith(folder)]
    networks = [ipaddress.ip_interface(text).network for one in found for text in one["networks"]]
    assert not [pair for pair in combinations(networks, 2) if pair[0].overlaps(pair[1])]


def test_a_number_is_a_digit() -> None:
    with pytest.raises(AssertionError, match="PGOPERATOR_INSTANCE must be a digit, not 'ten'"):
        place("ten")


def test_pip_settings_follow_the_environment() -> None:
    environment = {
        "PIP_INDEX_URL": "https://mirror.test/simple",
        "PIP_PROXY": "",
        "PIP_FIND_LINKS": "/wheels",
    }
    text = pip_config.render(environment, "/run/ca.crt")
    assert "index-url = https://mirror.test/simple\n" in text
    assert "cert = /run/ca.crt\n" in text
    assert "proxy" not in text
    assert "wheels" not in text  # a folder that the build cannot see
    assert "cert" not in pip_config.render({}, None)


def test_pip_settings_of_the_machine_are_read() -> None:
    text = "[global]\nindex-url = https://mirror.test/simple\ncert = /etc/ca.crt\n[install]\nno-deps = true\n"
    assert pip_config.machine_settings(text) == {"PIP_INDEX_URL": "https://mirror.test/simple"}
    assert pip_config.machine_settings("") == {}


def deployment(env: list[dict[str, str]]) -> dict[str, Any]:
    container = {"name": "operator", "image": "example.test/operator:1", "env": env}
    return {
        "kind": "Deployment",
        "metadata": {"name": "percona-postgresql-operator"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


def test_bundle_gets_the_local_images() -> None:
    other = {"kind": "ServiceAccount", "metadata": {"name": "operator"}}
    env = [
        {"name": "WATCH_NAMESPACE", "value": ""},
        {"name": "RELATED_IMAGE_PGBOUNCER", "value": "example.test/b"},
    ]
    first, second = install.with_local_images([other, deployment(env)], "abc")
    assert first == other
    template = second["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert container["image"] == "localhost/pgoperator/operator:dev"
    assert container["imagePullPolicy"] == "IfNotPresent"
    values = {entry["name"]: entry["value"] for entry in container["env"]}
    assert values == {
        "WATCH_NAMESPACE": "",
        "RELATED_IMAGE_POSTGRES_17": "localhost/pgoperator/postgres:17",
        "RELATED_IMAGE_PGBOUNCER": "localhost/pgoperator/pgbouncer:1.26",
        "RELATED_IMAGE_PGBACKREST": "localhost/pgoperator/postgres:17",
    }
    assert len(container["env"]) == len(values)
    assert "abc" in template["metadata"]["annotations"].values()


def test_bundle_is_read_as_documents_and_as_list() -> None:
    one, two = {"kind": "Role"}, {"kind": "Deployment"}
    assert install.objects_of(json.dumps(one) + "\n" + json.dumps(two) + "\n") == [one, two]
    assert install.objects_of(json.dumps({"kind": "List", "items": [one, two]})) == [one, two]
    assert install.objects_of("") == []


def test_progress_names_state_pods_and_what_is_wrong() -> None:
    conditions = [
        {"type": "Ready", "status": "False", "message": "2 of 3 replicas stream"},
        {"type": "Degraded", "status": "False", "message": "not shown"},
        {"type": "Progressing", "status": "True", "message": "copying data"},
    ]
    pods = [{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, {}]
    line = summary({"status": {"state": "initializing", "conditions": conditions}}, pods)
    assert line == "state: initializing; 1 of 2 pods ready; 2 of 3 replicas stream"
    assert summary({}, []) == "state: unknown; 0 of 0 pods ready"


def test_password_of_the_client_comes_from_the_secret_only() -> None:
    (container,) = client_pod("example.test/postgres")["spec"]["containers"]
    (password,) = [entry for entry in container["env"] if entry["name"] == "PGPASSWORD"]
    assert password["valueFrom"]["secretKeyRef"] == {"name": "cluster1-pguser-cluster1", "key": "password"}
    assert "value" not in password


def test_the_bundle_is_not_installed_elsewhere_without_an_image(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="no image is published"):
        install.from_bundle(tmp_path / "kubeconfig", local=False)
