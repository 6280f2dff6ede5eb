"""PostgreSQL's major version of a cluster that has data: the data's, whatever the spec says. Pure.

`spec.postgresVersion` chooses the version of a new cluster. Paths, images and the configuration of pgBackRest
contain it: if it changed under a running cluster, archiving would end and instances would start without data.
So a changed version has no effect, nor has the image that comes with it.
"""

from typing import Any

from pgoperator import naming
from pgoperator.api.cluster import PGCluster
from reconcilers.pgcluster.state.findings import Problem
from reconcilers.pgcluster.state.view import Observed

REASON = "WrongPostgresVersion"


def in_force(cluster: PGCluster, observed: Observed) -> tuple[PGCluster, tuple[Problem, ...]]:
    """The cluster with the version of its data, and the problem if the spec has another one."""
    spec = cluster.spec
    found = _of_data(cluster, observed)
    if found is None or found == spec.postgres_version:
        return cluster, ()
    kept = {"postgres_version": found, "image": _image(observed) or spec.image}
    message = (
        f"spec.postgresVersion is {spec.postgres_version}, but the data is of PostgreSQL {found}, whose "
        f"version cannot be changed: the cluster goes on with {found}; set the field to {found} again"
    )
    return cluster.model_copy(update={"spec": spec.model_copy(update=kept)}), (Problem(REASON, message),)


def _of_data(cluster: PGCluster, observed: Observed) -> int | None:
    """The version that the server reported last, else that of an instance's template."""
    reported = cluster.status.postgres.version if cluster.status.postgres is not None else None
    if reported:
        return reported
    for container in _containers(observed):
        for variable in container.get("env", []):
            if variable["name"] == "PGVERSION" and variable.get("value", "").isdigit():
                return int(variable["value"])
    return None


def _image(observed: Observed) -> str | None:
    """The image of the existing instances."""
    return next((str(container["image"]) for container in _containers(observed)), None)


def _containers(observed: Observed) -> list[dict[str, Any]]:
    """The container with PostgreSQL in each instance's template."""
    sets = [i.stateful_set for i in observed.instances if i.stateful_set is not None]
    return [
        container
        for stateful_set in sets
        for container in stateful_set["spec"].get("template", {}).get("spec", {}).get("containers", [])
        if container["name"] == naming.DATABASE_CONTAINER
    ]
