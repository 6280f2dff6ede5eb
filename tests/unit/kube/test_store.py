from typing import Any

import pytest

from pgoperator.kube.kinds import PG_BACKUP, POD, SECRET
from pgoperator.kube.manifest import Key, Manifest
from pgoperator.kube.store import DATA, Shard, Store

LABEL = "example.com/cluster"


def pod(name: str, version: int = 1, namespace: str = "ns", **labels: str) -> Manifest:
    full = {LABEL if key == "cluster" else key: value for key, value in labels.items()}
    meta: dict[str, Any] = {"name": name, "namespace": namespace, "resourceVersion": str(version)}
    meta |= {"labels": full, "managedFields": [{"manager": "x"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"nodeName": "n"}}


def names(found: list[Manifest]) -> list[str]:
    return [manifest["metadata"]["name"] for manifest in found]


def test_selects_by_all_labels_sorted_by_name() -> None:
    store = Store(LABEL)
    shard = store.open(POD, None)
    shard.put(pod("b", cluster="one", role="r"))
    shard.put(pod("a", cluster="one", role="r"))
    shard.put(pod("c", cluster="one"))
    shard.put(pod("d", cluster="two", role="r"))
    shard.put(pod("e", cluster="one", role="r", namespace="other"))
    assert names(store.select(POD, "ns", {LABEL: "one", "role": "r"})) == ["a", "b"]
    assert names(store.select(POD, "ns", {"role": "r"})) == ["a", "b", "d"]
    assert names(store.select(POD, "ns", {})) == ["a", "b", "c", "d"]
    assert store.select(SECRET, "ns", {}) == []


def test_the_index_follows_changed_labels_and_deletions() -> None:
    store = Store(LABEL)
    shard = store.open(POD, None)
    shard.put(pod("a", 1, cluster="one"))
    shard.put(pod("a", 2, cluster="two"))
    assert store.select(POD, "ns", {LABEL: "one"}) == []
    assert names(store.select(POD, "ns", {LABEL: "two"})) == ["a"]
    shard.drop(("ns", "a"))
    assert store.select(POD, "ns", {LABEL: "two"}) == []
    assert shard._by_label == {}


def backup(name: str, cluster: Any, version: int = 1) -> Manifest:
    meta: dict[str, Any] = {"name": name, "namespace": "ns", "resourceVersion": str(version)}
    return {"apiVersion": "v2", "kind": "PerconaPGBackup", "metadata": meta, "spec": {"pgCluster": cluster}}


def test_objects_are_found_by_the_cluster_that_they_name() -> None:
    store = Store(LABEL)
    shard = store.open(PG_BACKUP, None)
    for name, cluster in (("b", "one"), ("a", "one"), ("c", "two"), ("d", None), ("e", ["one"])):
        shard.put(backup(name, cluster))
    shard.put({**backup("f", "one"), "spec": None})
    assert names(store.owned_by(PG_BACKUP, "ns", "one")) == ["a", "b"]
    assert store.owned_by(PG_BACKUP, "other", "one") == []
    shard.put(backup("a", "two", 2))
    shard.drop(("ns", "b"))
    assert store.owned_by(PG_BACKUP, "ns", "one") == []
    assert names(store.owned_by(PG_BACKUP, "ns", "two")) == ["a", "c"]
    for name in "acdef":
        shard.drop(("ns", name))
    assert shard._by_owner == {}


def test_backups_of_other_clusters_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(LABEL)
    shard = store.open(PG_BACKUP, None)
    for number in range(6000):
        shard.put(backup(f"b{number}", f"c{number % 200}"))
    read: list[object] = []
    original = Shard.read

    def counted(self: Shard, place: tuple[str, str]) -> Manifest | None:
        read.append(place)
        return original(self, place)

    monkeypatch.setattr(Shard, "read", counted)
    assert len(store.owned_by(PG_BACKUP, "ns", "c7")) == 30
    assert len(read) == 30


def test_readers_get_copies() -> None:
    store = Store()
    store.open(POD, None).put(pod("a"))
    first = store.get(POD, "ns", "a")
    assert first is not None
    first["spec"]["nodeName"] = "changed"
    second = store.get(POD, "ns", "a")
    assert second is not None
    assert second["spec"]["nodeName"] == "n"


def test_managed_fields_and_what_is_trimmed_are_not_kept() -> None:
    store = Store()
    shard = store.open(POD, None, trim=lambda manifest: manifest.pop("spec"))
    event = shard.put(pod("a"))
    assert event is not None
    kept = store.get(POD, "ns", "a")
    assert kept == event.new
    assert kept is not None
    assert "spec" not in kept
    assert "managedFields" not in kept["metadata"]


def test_the_same_version_is_no_event() -> None:
    shard = Store().open(POD, None)
    assert shard.put(pod("a", 1)) is not None
    assert shard.put(pod("a", 1)) is None
    changed = shard.put(pod("a", 2))
    assert changed is not None
    assert changed.old is not None
    assert shard.drop(("ns", "b")) is None
    gone = shard.drop(("ns", "a"))
    assert gone is not None
    assert gone.new is None


def test_synced_when_every_watch_is() -> None:
    store = Store()
    one, two = store.open(POD, "a"), store.open(SECRET, "a")
    one.synced = True
    assert not store.synced
    assert store.unsynced() == ["Secret in namespace a"]
    two.synced = True
    assert store.synced


def test_namespaces_and_selectors_are_shards_of_one_view() -> None:
    store = Store()
    store.open(POD, "a").put(pod("x", namespace="a"))
    store.open(POD, "b").put(pod("y", namespace="b"))
    store.open(POD, "b").put(pod("z", namespace="b"))
    assert store.keys(POD) == [Key("Pod", "a", "x"), Key("Pod", "b", "y"), Key("Pod", "b", "z")]
    assert names(store.select(POD, "b", {})) == ["y", "z"]
    assert store.get(POD, "b", "z") is not None
    assert store.seen(POD, "c") is None
    assert store.seen(POD, "a") == 0


def secret(name: str, version: int, text: str, namespace: str = "ns") -> Manifest:
    meta = {"name": name, "namespace": namespace, "resourceVersion": str(version), "labels": {LABEL: "one"}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"a": text}}


def test_a_namespace_cannot_fill_the_memory() -> None:
    store = Store(LABEL)
    shard = store.open(SECRET, None)
    for number in range(50):
        shard.put(secret(f"s{number:02d}", 1, "x" * 1_000_000))
    shard.put(secret("other", 1, "x", namespace="another"))
    assert sum(map(len, shard._objects.values())) < DATA + 50 * 1000
    kept = ["data" in one for one in store.select(SECRET, "ns", {LABEL: "one"})]
    assert kept == [True] * 33 + [False] * 17
    other = store.get(SECRET, "another", "other")
    assert other is not None
    assert other["data"] == {"a": "x"}
    # A change is still a change, and freed space is used again.
    changed = shard.put(secret("s49", 2, "y" * 1_000_000))
    assert changed is not None
    assert changed.old is not None
    assert changed.new is not None
    assert changed.old["dataDigest"] != changed.new["dataDigest"]
    for number in range(34):
        shard.drop(("ns", f"s{number:02d}"))
    assert shard._data["ns"] == 0
    changed = shard.put(secret("s49", 3, "z"))
    assert changed is not None
    assert changed.new is not None
    assert changed.new["data"] == {"a": "z"}
