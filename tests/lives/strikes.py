"""What happens to a cluster by bad luck, or by somebody who deletes the wrong object."""

import time
from contextlib import suppress
from functools import partial
from random import Random

from local import network
from tests.lives.life import Judge, Life
from tests.lives.model import Loss
from tests.support import deletion, faults
from tests.support.kubectl import KubectlError, Manifest

LEASES = "leases"


def kill_postgres(life: Life, dice: Random) -> Judge:
    """Kill PostgreSQL of the primary."""
    query = "SELECT pg_postmaster_start_time()"
    before = life.cluster.psql(query)
    faults.kill_postmaster(life.cluster)
    life.wait("PostgreSQL has started again", lambda: life.cluster.psql(query) != before, 120)
    return _may_lose(life)


def kill_container(life: Life, dice: Random) -> Judge:
    """Kill the main process of the primary's database container."""
    name = life.cluster.primary_name()

    def count() -> int:
        statuses = life.cluster.kubectl.get("pod", name)["status"]["containerStatuses"]
        return sum(one["restartCount"] for one in statuses)

    before = count()
    faults.kill_main_process(life.cluster)
    life.wait("the container has restarted", lambda: count() > before, 120)
    return _may_lose(life)


def delete_pod(life: Life, dice: Random) -> None:
    """Delete any pod gracefully."""
    _delete_pod(life, dice)


def delete_pod_by_force(life: Life, dice: Random) -> Judge | None:
    """Delete any pod without a grace period."""
    primary = life.cluster.primary_name()
    deleted = _delete_pod(life, dice, "--grace-period=0", "--force")
    return _may_lose(life) if deleted == primary else None


def _delete_pod(life: Life, dice: Random, *how: str) -> str:
    def lasting() -> dict[str, str]:
        pods = life.cluster.pods()
        return {pod["metadata"]["uid"]: pod["metadata"]["name"] for pod in pods if not _is_of_a_job(pod)}

    before = lasting()
    primary = life.cluster.primary()["metadata"]["uid"]
    uid = primary if dice.random() < 0.5 else dice.choice(list(before))
    name = before[uid]
    life.detail(f"pod {name}")
    life.cluster.kubectl.delete("pod", name, *how)

    def replaced() -> bool:
        after = lasting()
        return uid not in after and len(after) >= len(before)

    life.wait(f"another pod replaces {name}", replaced, 120)
    return name


def _is_of_a_job(pod: Manifest) -> bool:
    return "job-name" in pod["metadata"].get("labels", {})


def cut_off(life: Life, dice: Random) -> Judge:
    """Cut off the node of the primary until another instance leads."""
    old = life.cluster.primary()
    name, node = old["metadata"]["name"], old["spec"]["nodeName"]
    life.detail(f"node {node} of {name}; the operator is on {life.place.operator.node()}")
    network.cut(node)
    try:
        life.wait("another instance leads", lambda: life.cluster.primary_name() != name, 150)
        time.sleep(dice.uniform(0, 15))
    finally:
        network.heal(node)
    return _may_lose(life)


def delete_object(life: Life, dice: Random) -> None:
    """Delete an object that takes no pod with it."""
    kinds = [kind for kind in deletion.KINDS if kind not in deletion.REPLACE_PODS]
    _delete_object(life, dice, dice.choice([*kinds, LEASES]))


def delete_owner(life: Life, dice: Random) -> None:
    """Delete an object with which Kubernetes deletes pods, or their rights."""
    before = {pod["metadata"]["uid"] for pod in life.cluster.pods()}
    kind = dice.choice(sorted(deletion.REPLACE_PODS))
    name = _delete_object(life, dice, kind)

    def replaced() -> bool:
        return bool(before - {pod["metadata"]["uid"] for pod in life.cluster.pods()})

    # The account of the Jobs takes no pod with it.
    if kind != "serviceaccounts" or name.endswith("-instance"):
        life.wait(f"pods of {kind}/{name} are replaced", replaced, 180)


def _delete_object(life: Life, dice: Random, kind: str) -> str:
    if kind == LEASES:
        # Of the operator or of the cluster's backups: they have no label, and return when they are needed.
        names = life.cluster.kubectl.names(kind)
        life.detail(f"{kind}/{(name := dice.choice(names))}")
        life.cluster.kubectl.delete(kind, name)
        return name
    (_, name), uid = dice.choice(sorted(deletion.objects(life.cluster, kind).items()))
    life.detail(f"{kind}/{name}")
    deletion.delete(life.cluster, kind, name, uid)
    return name


def kill_operator(life: Life, dice: Random) -> None:
    """Kill the operator."""
    life.place.operator.kill()
    life.place.operator.wait()


def restart_operator(life: Life, dice: Random) -> None:
    """Restart the operator gracefully."""
    life.place.operator.restart()


def _may_lose(life: Life) -> Judge:
    return partial(life.model.check, loss=Loss.UNREPLICATED)


def kill_operator_later(life: Life, seconds: float) -> None:
    """Kill the operator after some time, wherever it is in its work."""
    time.sleep(seconds)
    with suppress(AssertionError, KubectlError, OSError):  # it is being replaced anyway
        life.place.operator.kill()
