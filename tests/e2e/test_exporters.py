"""The documented exporter sidecars of PostgreSQL and pgBouncer, and their metrics."""

import urllib.request
from collections.abc import Callable

import pytest
import yaml

from local import images
from local.cluster import nodes_of_state
from tests.support import documents
from tests.support.clusters import Cluster
from tests.support.kubectl import Kubectl, Manifest, until

PAGE = "docs/howto/monitor.md"


def manifests() -> list[Manifest]:
    """The manifest of the page, with a local image."""
    [block] = [b for b in documents.blocks(PAGE) if "prometheus-postgres-exporter" in b.text]
    text = block.text.replace("registry.example.com/exporters:1", images.EXPORTERS)
    return list(yaml.safe_load_all(text))


@pytest.fixture(scope="module")
def cluster(kubectl: Kubectl, new_cluster: Callable[..., Cluster]) -> Cluster:
    """The page's cluster with one instance, one pooler and no backups."""
    images.build([images.EXPORTERS])
    for node in nodes_of_state():
        node.containerd.import_images([images.ALL[images.EXPORTERS]])
    config_map, manifest = manifests()
    kubectl.apply(config_map)
    manifest["spec"] |= {"backups": {"enabled": False}}
    manifest["spec"]["instances"][0]["replicas"] = 1
    manifest["spec"]["proxy"]["pgBouncer"]["replicas"] = 1
    made = new_cluster(manifest)
    made.apply()
    made.wait_ready()
    return made


def tells(cluster: Cluster, pod: Manifest, *lines: str) -> None:
    """Wait until an exporter's metrics have lines with these prefixes."""
    [port] = [
        port["containerPort"]
        for container in pod["spec"]["containers"]
        for port in container.get("ports", [])
        if port["name"] == "exporter"
    ]
    name, url = pod["metadata"]["name"], f"http://{pod['status']['podIP']}:{port}/metrics"
    answer = ""

    def has_them() -> bool:
        nonlocal answer
        try:
            with urllib.request.urlopen(url, timeout=10) as found:
                answer = found.read().decode()
        except OSError as error:
            answer = str(error)
        return all(f"\n{line}" in answer for line in lines)

    def explain() -> str:
        return answer[-3000:] + cluster.kubectl.logs(name, "--container=exporter", "--tail=20")

    until(f"{name} has metrics {lines}", has_them, 120, explain)


def test_what_is_inside_postgresql(cluster: Cluster) -> None:
    size = f'pg_database_size_bytes{{datname="{cluster.name}"}}'
    tells(
        cluster, cluster.primary(), "pg_up 1", size, "pg_stat_activity_count{", "pg_replication_is_replica 0"
    )


def test_what_is_inside_pgbouncer(cluster: Cluster) -> None:
    [pooler] = cluster.poolers()
    tells(
        cluster,
        pooler,
        "pgbouncer_up 1",
        "pgbouncer_pools_client_waiting_connections{",
        "pgbouncer_version_info{",
    )
