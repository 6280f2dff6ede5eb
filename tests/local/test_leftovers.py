"""`make up` starts a working Kubernetes from any leftovers, and `make down` leaves none."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.own_cluster import OwnCluster, Process, gone


@pytest.fixture(scope="module")
def cluster() -> Iterator[OwnCluster]:
    """The tests' cluster; at the end no trace of it is left, including its runtimes' content."""
    if os.geteuid():
        pytest.fail("these tests need root, as the local Kubernetes does")
    found = OwnCluster.find()
    found.build()
    found.down()
    try:
        yield found
    finally:
        found.down()
        shutil.rmtree(found.content, ignore_errors=True)


@pytest.fixture
def former(cluster: OwnCluster) -> list[Process]:
    """The processes of a running cluster with a pod on each node, which a test damages."""
    cluster.up()
    cluster.use()
    return cluster.processes()


def works_again(cluster: OwnCluster, former: list[Process]) -> None:
    """Assert that after `up` every node runs pods and no trace of the former cluster is left."""
    cluster.up()
    gone(former)
    cluster.use()


def kill(processes: list[Process]) -> None:
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
    gone(processes)


def files(root: Path) -> list[Path]:
    """All files of a folder, without mounts in it."""
    device, found = root.stat().st_dev, []
    for folder, folders, names in os.walk(root):
        own = {name for name in (*folders, *names) if Path(folder, name).lstat().st_dev == device}
        folders[:] = own.intersection(folders)
        found += [Path(folder, name) for name in own.intersection(names)]
    return sorted(found)


def test_one_that_works_is_left_alone(cluster: OwnCluster, former: list[Process]) -> None:
    before = cluster.records()
    assert len(before) >= 6 + 2 * 3
    cluster.up()
    assert cluster.records() == before
    assert {p.pid for p in former} <= {p.pid for p in cluster.processes()}


def test_every_process_was_killed_and_the_pods_live_on(cluster: OwnCluster, former: list[Process]) -> None:
    kill(cluster.recorded())
    assert cluster.processes(), "pods outlive their node's processes"
    works_again(cluster, former)


def test_a_nodes_folder_is_half_gone_and_the_images_of_another_cannot_be_read(
    cluster: OwnCluster, former: list[Process]
) -> None:
    kill([p for p in cluster.recorded() if "/node1" in p.command or "/node2" in p.command])
    for path in files(cluster.folder / "node1")[::2]:
        path.unlink()
    [store] = (cluster.content / "node2").rglob("meta.db")
    store.write_bytes(b"garbage" * 10_000)
    works_again(cluster, former)


def test_the_records_are_gone_and_the_processes_are_not(cluster: OwnCluster, former: list[Process]) -> None:
    shutil.rmtree(cluster.folder / "processes")
    works_again(cluster, former)


def test_up_was_killed_half_way(cluster: OwnCluster) -> None:
    cluster.down()
    with cluster.begin_up() as began:
        deadline = time.monotonic() + 120
        while not any("kubelet" in p.command for p in cluster.processes()):
            assert time.monotonic() < deadline, "no kubelet"
            time.sleep(0.05)
        began.kill()
    works_again(cluster, cluster.processes())


def test_the_machine_was_started_again(cluster: OwnCluster, former: list[Process]) -> None:
    """Only files and records stay; a process id may belong to another process by now."""
    copy = cluster.folder.with_suffix(".copy")
    # It reports unreadable mounted files, which are not on the disk.
    subprocess.run(["cp", "--archive", "--one-file-system", cluster.folder, copy], check=False)
    cluster.down()
    copy.rename(cluster.folder)
    (cluster.content / "boot-id").write_text("the boot before\n")
    with subprocess.Popen(["sleep", "600"]) as stranger:
        try:
            _, began = cluster.records()["etcd"].split()
            (cluster.folder / "processes" / "etcd.pid").write_text(f"{stranger.pid} {began}\n")
            works_again(cluster, former)
            assert stranger.poll() is None, "a process of somebody else was killed"
        finally:
            stranger.kill()


def test_down_leaves_nothing(cluster: OwnCluster, former: list[Process]) -> None:
    assert len(cluster.left()) > len(former)
    # Of one node, only the pods are left.
    kill([p for p in cluster.recorded() if "/node1" in p.command])
    cluster.down()
    gone(former)
    assert cluster.left() == []
    cluster.down()
    assert cluster.left() == []
