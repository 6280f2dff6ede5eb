"""Backups in an object store: encrypted, bundled, block incremental; all deleted with their cluster."""

import time
from collections.abc import Callable

import pytest

from pgoperator import labels
from tests.support.backups import BACKUPS, backup, first_backup, gone, in_repository
from tests.support.clusters import Cluster, example
from tests.support.kubectl import until
from tests.support.output import emit
from tests.support.s3 import BUCKET, S3

NAME = "stored"


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., Cluster], s3: S3) -> Cluster:
    manifest = example(NAME, instances=1, poolers=1)
    settings = manifest["spec"]["backups"]["pgbackrest"]
    settings["configuration"] = [*s3.configuration(), {"secret": {"name": "cipher"}}]
    settings["repos"] = [*settings["repos"], s3.repo("repo2")]
    settings["global"] = s3.options("repo2", "/pgbackrest/repo2") | {
        "repo2-retention-full": "9",
        "repo2-cipher-type": "aes-256-cbc",
        "repo2-block": "y",
        "compress-type": "zst",
    }
    made = new_cluster(manifest)
    made.kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "cipher"},
            "stringData": {"cipher.conf": "[global]\nrepo2-cipher-pass=a-long-passphrase\n"},
        }
    )
    made.apply()
    made.wait_ready()
    first_backup(made)
    return made


def test_s3_with_encryption_blocks_bundles_and_zst(cluster: Cluster, s3: S3) -> None:
    assert all(repo["stanzaCreated"] for repo in cluster.cr()["status"]["pgbackrest"]["repos"])
    for name, kind in (("s3full", "full"), ("s3incr", "incr")):
        began = time.monotonic()
        label = backup(cluster, name, f"--type={kind}", repo="repo2")
        emit(f"{kind} backup to S3: {time.monotonic() - began:.1f} s")
        status = cluster.kubectl.get(BACKUPS, name)["status"]
        assert status["storageType"] == "s3"
        assert status["destination"] == f"s3://{BUCKET}/pgbackrest/repo2"
        assert label in in_repository(cluster, 2)
    assert any("/bundle/" in path for path in s3.files())
    assert "pgbackrest/repo2/owner/db" in s3.files()
    asked = {"metadata": {"annotations": {labels.DELETE_FROM_REPOSITORY: "true"}}}
    cluster.kubectl.patch(BACKUPS, "s3incr", asked)
    cluster.kubectl.delete(BACKUPS, "s3incr")
    until("the object is gone", lambda: gone(cluster, "s3incr"), 60, cluster.explain)
    assert label not in in_repository(cluster, 2)


def test_the_finalizer_deletes_every_backup(cluster: Cluster, s3: S3) -> None:
    backup(cluster, "last", "--type=full", repo="repo2")
    finalizers = {"metadata": {"finalizers": [labels.FINALIZER_DELETE_BACKUPS, labels.FINALIZER]}}
    cluster.kubectl.patch("perconapgclusters", NAME, finalizers)
    began = time.monotonic()
    cluster.kubectl.delete("perconapgclusters", NAME)
    until(
        "the cluster is gone",
        lambda: not cluster.kubectl.find("perconapgclusters", NAME),
        120,
        cluster.explain,
    )
    emit(f"the cluster and its backups were deleted after {time.monotonic() - began:.1f} s")
    until("no object is left", lambda: not cluster.kubectl.items(BACKUPS), 20)
    assert not [path for path in s3.files() if path.startswith("pgbackrest/repo2/")]
    assert cluster.kubectl.find("persistentvolumeclaim", f"{NAME}-repo1")
