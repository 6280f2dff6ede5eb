"""An operator that is killed at any moment of a creation: the next one reaches the same state."""

import difflib
import json
import re
import time
from collections.abc import Callable

import pytest

from tests.support.backups import first_backup
from tests.support.clusters import Cluster, example
from tests.support.kubectl import Kubectl, Manifest, until
from tests.support.operators import Operator

# Objects of these kinds must be equal however often the operator died, except random and volatile fields.
KINDS = "statefulsets,deployments,services,configmaps,poddisruptionbudgets,serviceaccounts,roles,rolebindings"
MOMENTS = (pytest.param(0.2, marks=pytest.mark.long), 1.5, pytest.param(4.0, marks=pytest.mark.long))


def template() -> Manifest:
    return example("twice", instances=2, poolers=1)


def state(cluster: Cluster) -> dict[str, str]:
    """Return the operator's objects without fields that differ between runs."""
    found = {}
    for item in cluster.kubectl.items(KINDS, cluster.selector):
        metadata = item["metadata"]
        spec = item.get("spec", {})
        for key in ("clusterIP", "clusterIPs"):
            if spec.get(key) != "None":
                spec.pop(key, None)
        kept = {
            "labels": metadata.get("labels"),
            "generation": metadata.get("generation"),
            "spec": spec,
            **{key: item.get(key) for key in ("data", "rules", "subjects", "roleRef")},
        }
        text = json.dumps(kept, sort_keys=True).replace(cluster.kubectl.namespace, "NAMESPACE")
        uid = cluster.cr()["metadata"]["uid"]
        found[f"{item['kind']} {metadata['name']}"] = re.sub(re.escape(uid), "UID", text)
    for item in cluster.kubectl.items("secrets,persistentvolumeclaims", cluster.selector):
        found[f"{item['kind']} {item['metadata']['name']}"] = ",".join(sorted(item.get("data", {})))
    return found


def differences(before: dict[str, str], after: dict[str, str]) -> str:
    """Return a readable diff."""
    lines: list[str] = []
    for name in sorted(before.keys() & after.keys()):
        old, new = (
            one[name].replace(", ", ",\n").replace("\\n", "\n").splitlines() for one in (before, after)
        )
        lines += difflib.unified_diff(old, new, f"{name} undisturbed", f"{name} disturbed", lineterm="", n=1)
    return "\n".join(lines)


@pytest.fixture(scope="module")
def undisturbed(new_cluster: Callable[..., Cluster]) -> dict[str, str]:
    """The state after an undisturbed creation."""
    return _made(new_cluster(template()), lambda: None)


def _made(cluster: Cluster, disturb: Callable[[], None]) -> dict[str, str]:
    """Create a cluster, disturb it, wait, return its state, and remove it."""
    cluster.manifest["metadata"]["finalizers"] = ["percona.com/delete-pvc", "percona.com/delete-ssl"]
    cluster.apply()
    disturb()
    settle(cluster)
    found = state(cluster)
    restarted = {name: counts for name, (_, counts) in cluster.restarts().items() if any(counts.values())}
    assert not restarted
    cluster.kubectl.run("delete", "perconapgclusters", cluster.name, "--timeout=90s", seconds=100)
    return found


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_in_the_middle_of_creation(
    new_cluster: Callable[..., Cluster], operator: Operator, undisturbed: dict[str, str], moment: float
) -> None:
    def disturb() -> None:
        time.sleep(moment)
        operator.kill()

    found = _made(new_cluster(template()), disturb)
    assert found.keys() == undisturbed.keys()
    assert differences(undisturbed, found) == ""


def test_killed_afterwards(new_cluster: Callable[..., Cluster], operator: Operator, kubectl: Kubectl) -> None:
    cluster = new_cluster(example("after", instances=2, poolers=1))
    cluster.apply()
    settle(cluster)
    before, pods, version = state(cluster), cluster.restarts(), cluster.cr()["metadata"]["resourceVersion"]
    operator.kill()
    operator.wait()
    # The operator works again: it acts on a new change.
    cluster.change(lambda spec: spec["proxy"]["pgBouncer"].update(replicas=2))
    cluster.wait_ready(90)
    cluster.change(lambda spec: spec["proxy"]["pgBouncer"].update(replicas=1))
    cluster.wait_ready(90)
    after = {k: _without_generation(v) for k, v in state(cluster).items()}
    assert after == {k: _without_generation(v) for k, v in before.items()} | {
        k: v for k, v in after.items() if k.startswith("PodDisruptionBudget") and k not in before
    }
    kept = {name: what for name, what in cluster.restarts().items() if "pgbouncer" not in name}
    assert kept == {name: what for name, what in pods.items() if "pgbouncer" not in name}
    assert cluster.cr()["metadata"]["resourceVersion"] != version


def settle(cluster: Cluster) -> None:
    """Wait until a creation is complete.

    From its first backup on, a cluster fills new replicas from it: that changes files of the instances.
    """
    cluster.wait_ready()
    first_backup(cluster)
    until("new replicas come from the backup", lambda: _copies_from_backups(cluster), 60, cluster.explain, 1)
    cluster.wait_ready()


def _copies_from_backups(cluster: Cluster) -> bool:
    files = [
        text for name, text in state(cluster).items() if re.match("ConfigMap .*-instance1-.*-config", name)
    ]
    return bool(files) and all("replica-create.sh" in text for text in files)


def _without_generation(text: str) -> str:
    return re.sub(r'"generation": \d+', "", text)
