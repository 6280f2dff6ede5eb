"""Where the Job of a restore runs, as whom, and with which variables: the user's settings for it. Pure.

The Job must be able to run on the node of the instance's volume, and writes files that the instance reads. So
settings that no section of restores or Jobs has are those of the instance set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pgoperator.api.instances import InstanceSet
from pgoperator.api.pgrestore import PGRestore
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.backups import build_repo_host
from reconcilers.pgcluster.pods import decide_variables
from reconcilers.pgcluster.state.view import ClusterView
from reconcilers.pgrestore.build_source import Source


@dataclass(frozen=True, slots=True)
class Settings:
    """The section of a pod's settings, as `build_pod.pod_spec` reads it, and the container's resources."""

    affinity: Any
    tolerations: tuple[Manifest, ...]
    priority_class_name: str | None
    security_context: Any
    resources: Any


def of_job(view: ClusterView, origin: Source | None, instance_set: InstanceSet | None) -> Settings:
    """The settings of the Job; `origin` is where a new cluster's data comes from.

    The first section that has a setting decides; a toleration of any section applies.
    """
    pgbackrest = view.cluster.spec.backups.pgbackrest
    own = (origin.placement,) if origin is not None else (pgbackrest.restore, pgbackrest.jobs)
    sections = [section for section in (*own, instance_set) if section is not None]
    tolerations = [one for section in sections for one in section.tolerations]
    return Settings(
        affinity=_first(sections, "affinity"),
        tolerations=tuple(one for i, one in enumerate(tolerations) if one not in tolerations[:i]),
        priority_class_name=_first(sections, "priority_class_name"),
        security_context=_first(sections, "security_context"),
        # The instance's memory may be most of its node's.
        resources=_first(own, "resources"),
    )


def variables(
    view: ClusterView, restore: PGRestore, origin: Source | None, ours: Sequence[Manifest]
) -> Manifest:
    """`env` and `envFrom` of the Job's container; `ours` are the operator's variables, which always win.

    For the cluster's own backups: pgBackRest's variables, with those of `spec.backups.pgbackrest.restore` in
    their place if it has any. For a new cluster: those of its dataSource. The restore's own win over both;
    they were checked before, and none counts if they have changed since into something that is refused.
    """
    section: Any = origin.placement if origin is not None else view.cluster.spec.backups.pgbackrest.restore
    general = {
        "env": list(getattr(section, "env", ())),
        "envFrom": list(getattr(section, "env_from", ())),
    }
    if origin is None and not any(general.values()):
        general = build_repo_host.variables(view, [])
    extra = restore.spec.container_options
    if decide_variables.refusal(extra, view.cluster):
        extra = None
    own: Sequence[Manifest] = extra.env if extra is not None else ()
    by_name = {variable["name"]: variable for variable in (*general["env"], *own, *ours)}
    more = extra.env_from if extra is not None else ()
    sources = [*general["envFrom"], *(one for one in more if one not in general["envFrom"])]
    return {"env": [*by_name.values()], "envFrom": sources}


def _first(sections: Sequence[Any], name: str) -> Any:
    return next((value for section in sections if (value := getattr(section, name, None))), None)
