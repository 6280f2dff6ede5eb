"""The common parts of a cluster's pods: security context, spread constraints, volumes, containers. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from pgoperator import labels, naming
from pgoperator.errors import InvalidSpec
from pgoperator.kube.compare import quantity
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.pods import decide_privileges
from reconcilers.pgcluster.state.view import ClusterView

# The group of PostgreSQL in the images.
POSTGRES_GROUP = 26

# As the restricted Pod Security Standard requires, plus a read-only root file system.
RESTRICTED: Manifest = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}

TMP_VOLUME: Manifest = {"name": "tmp", "emptyDir": {"sizeLimit": "2Gi"}}
TMP_MOUNT: Manifest = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - inside the container
SCRIPTS_MOUNT: Manifest = {"name": "scripts", "mountPath": naming.SCRIPTS_PATH, "readOnly": True}


def scripts_volume(cluster: str) -> Manifest:
    """The volume with the operator's scripts, executable."""
    return {"name": "scripts", "configMap": {"name": naming.scripts(cluster), "defaultMode": 0o555}}


def script(name: str, *arguments: str) -> list[str]:
    """The command (argv) that runs one of the operator's scripts."""
    return ["bash", f"{naming.SCRIPTS_PATH}/{name}", *arguments]


def image(view: ClusterView, own: str | None, component: str, major: int = 0) -> str:
    """The image of a component: that of the spec (`own`), else the operator's default (RELATED_IMAGE_…).

    `major` is PostgreSQL's major version. Raises InvalidSpec when neither is set.
    """
    name = own or view.settings.related_image(component, major)
    if not name:
        variable = f"RELATED_IMAGE_{component.upper()}" + (f"_{major}" if major else "")
        raise InvalidSpec(
            f"no image for {component}: set it in the custom resource, or set {variable} on the operator",
            reason="MissingRequiredImage",
        )
    return name


def container(view: ClusterView, name: str, image_name: str, **fields: Any) -> Manifest:
    """A container with the operator's defaults; fields that are None or empty are omitted."""
    result: Manifest = {
        "name": name,
        "image": image_name,
        "securityContext": RESTRICTED,
        # The cause of a failure is then in the pod's status, where the operator reads it.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if view.cluster.spec.image_pull_policy:
        result["imagePullPolicy"] = view.cluster.spec.image_pull_policy
    return result | {key: value for key, value in fields.items() if value not in (None, [], {}, ())}


def projected(name: str, sources: Sequence[Manifest], mode: int = 0o600) -> Manifest:
    """A projected volume; by default only the owner and, through fsGroup, the group can read it."""
    return {"name": name, "projected": {"defaultMode": mode, "sources": list(sources)}}


def from_secret(name: str, items: Mapping[str, str], *, optional: bool = False) -> Manifest:
    """A source of a projected volume: keys of a Secret and their paths; `optional`: it may be missing."""
    source: Manifest = {"name": name, "items": [{"key": k, "path": p} for k, p in items.items()]}
    return {"secret": source | ({"optional": True} if optional else {})}


def from_config_map(name: str, items: Mapping[str, str]) -> Manifest:
    """A source of a projected volume: keys of a ConfigMap and their paths."""
    return {"configMap": {"name": name, "items": [{"key": k, "path": p} for k, p in items.items()]}}


def pod_spec(
    view: ClusterView,
    component: Any,
    *,
    containers: Sequence[Manifest],
    volumes: Sequence[Manifest],
    account: str | None,
    selector: Manifest | None,
    fs_group: int | None = None,
) -> Manifest:
    """The spec of a pod.

    `component` is the section of the spec with affinity, tolerations and so on; `account` is the
    ServiceAccount (None: no token); `selector` selects the pods to spread (None, for Jobs: no constraints).
    Raises InvalidSpec for privileges.
    """
    spec: Manifest = {
        "containers": list(containers),
        "volumes": list(volumes),
        "securityContext": _security_context(view, component, fs_group),
        "shareProcessNamespace": True,
        "enableServiceLinks": False,
        "restartPolicy": "Always",
    }
    if selector is not None:
        spec["topologySpreadConstraints"] = _spread(component, selector)
    if account:
        spec["serviceAccountName"] = account
    else:
        spec["automountServiceAccountToken"] = False
    optional = {
        "affinity": getattr(component, "affinity", None),
        "tolerations": getattr(component, "tolerations", None),
        "priorityClassName": getattr(component, "priority_class_name", None),
        "imagePullSecrets": view.cluster.spec.image_pull_secrets,
    }
    spec |= {
        key: value if isinstance(value, (dict, str)) else list(value)
        for key, value in optional.items()
        if value
    }
    decide_privileges.check(spec, view.settings)
    return spec


def _security_context(view: ClusterView, component: Any, fs_group: int | None) -> Manifest:
    own = getattr(component, "security_context", None)
    if own:
        return dict(own)
    context: Manifest = {"fsGroupChangePolicy": "OnRootMismatch"}
    if fs_group is not None and not view.cluster.spec.openshift:
        context["fsGroup"] = fs_group
    return context


def _spread(component: Any, selector: Manifest) -> list[Manifest]:
    """The user's constraints, then the operator's: spread over nodes and zones if possible."""
    ours = [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": selector,
        }
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]
    return list(getattr(component, "topology_spread_constraints", None) or []) + ours


def database_selector(cluster: str) -> Manifest:
    """Selects the pods of a cluster that hold data: instances and the repository host."""
    return {
        "matchLabels": labels.of_cluster(cluster),
        "matchExpressions": [
            {"key": labels.DATA, "operator": "In", "values": [labels.DATA_POSTGRES, labels.DATA_PGBACKREST]}
        ],
    }


def size(claim_spec: Manifest) -> int:
    """The bytes that the spec of a claim requests; 0 if it requests none, or what is no quantity."""
    requests = (claim_spec.get("resources") or {}).get("requests") or {}
    return int(quantity(requests.get("storage")) or 0)


def claim(spec: Manifest) -> Manifest:
    """A user's claim spec without limits: these bound the growth of the volume and are not for the claim."""
    resources = {key: value for key, value in (spec.get("resources") or {}).items() if key != "limits"}
    return {**spec, "resources": resources}
