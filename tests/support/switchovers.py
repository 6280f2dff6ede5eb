"""Switchovers on request."""

from typing import Any

from tests.support.clusters import Cluster

TRIGGER = "pgv2.percona.com/trigger-switchover"


def ask(cluster: Cluster, value: str, **switchover: Any) -> None:
    """Request a switchover; the value must differ from the last request's."""
    cluster.manifest["metadata"].setdefault("annotations", {})[TRIGGER] = value
    wanted = {"enabled": True, **switchover}
    cluster.change(lambda spec: spec.setdefault("patroni", {}).update(switchover=wanted))


def answered(cluster: Cluster) -> str:
    """Return the value of the last switchover that was completed or abandoned."""
    return str(cluster.cr()["status"]["patroni"]["status"].get("switchover", ""))
