"""What the pods of a cluster have in common: security, spreading, volumes, containers."""

from collections.abc import Mapping, Sequence
from typing import Any

from pgoperator import labels, naming
from pgoperator.errors import InvalidSpec
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.view import View

# The user and group of PostgreSQL in the images.
POSTGRES_GROUP = 26

# What the restricted Pod Security Standard asks for, and a read-only root besides.
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
    """The scripts, executable."""
    return {"name": "scripts", "configMap": {"name": naming.scripts(cluster), "defaultMode": 0o555}}


def script(name: str, *arguments: str) -> list[str]:
    """The command that runs one of our scripts."""
    return ["bash", f"{naming.SCRIPTS_PATH}/{name}", *arguments]


def image(view: View, own: str | None, component: str, major: int = 0) -> str:
    """The image of a component: the CR's own, or the operator's default from its environment."""
    found = own or view.settings.related_image(component, major)
    if not found:
        variable = f"RELATED_IMAGE_{component.upper()}" + (f"_{major}" if major else "")
        raise InvalidSpec(
            f"no image for {component}: name one in the custom resource, or set {variable} on the operator",
            reason="MissingRequiredImage",
        )
    return found


def container(view: View, name: str, image_name: str, **fields: Any) -> Manifest:
    """A container with our defaults; fields that are None or empty are left out."""
    result: Manifest = {
        "name": name,
        "image": image_name,
        "securityContext": RESTRICTED,
        # A process that gave up shall say why in the pod's status, where the operator reads it.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if view.cluster.spec.image_pull_policy:
        result["imagePullPolicy"] = view.cluster.spec.image_pull_policy
    return result | {key: value for key, value in fields.items() if value not in (None, [], {}, ())}


def projected(name: str, sources: Sequence[Manifest], mode: int = 0o600) -> Manifest:
    """A volume of several sources; private keys in it are for the owner and, through fsGroup, the group."""
    return {"name": name, "projected": {"defaultMode": mode, "sources": list(sources)}}


def from_secret(name: str, items: Mapping[str, str]) -> Manifest:
    """Keys of a Secret under the paths given, as a source of a projected volume."""
    return {"secret": {"name": name, "items": [{"key": k, "path": p} for k, p in items.items()]}}


def from_config_map(name: str, items: Mapping[str, str]) -> Manifest:
    """Keys of a ConfigMap under the paths given, as a source of a projected volume."""
    return {"configMap": {"name": name, "items": [{"key": k, "path": p} for k, p in items.items()]}}


def pod_spec(
    view: View,
    component: Any,
    *,
    containers: Sequence[Manifest],
    volumes: Sequence[Manifest],
    account: str | None,
    selector: Manifest,
    fs_group: int | None = None,
) -> Manifest:
    """The spec of a pod; `component` is the part of the CR that holds affinity, tolerations and so on."""
    spec: Manifest = {
        "containers": list(containers),
        "volumes": list(volumes),
        "securityContext": _security_context(view, component, fs_group),
        "shareProcessNamespace": True,
        "enableServiceLinks": False,
        "restartPolicy": "Always",
        "topologySpreadConstraints": _spread(component, selector),
    }
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
    return spec | {
        key: value if isinstance(value, (dict, str)) else list(value)
        for key, value in optional.items()
        if value
    }


def _security_context(view: View, component: Any, fs_group: int | None) -> Manifest:
    own = getattr(component, "security_context", None)
    if own:
        return dict(own)
    context: Manifest = {"fsGroupChangePolicy": "OnRootMismatch"}
    if fs_group is not None and not view.cluster.spec.openshift:
        context["fsGroup"] = fs_group
    return context


def _spread(component: Any, selector: Manifest) -> list[Manifest]:
    """The user's constraints, then ours: across nodes and zones as far as that is possible."""
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
    """Everything of a cluster that holds data."""
    return {
        "matchLabels": labels.of_cluster(cluster),
        "matchExpressions": [
            {"key": labels.DATA, "operator": "In", "values": [labels.DATA_POSTGRES, labels.DATA_PGBACKREST]}
        ],
    }


def claim(spec: Manifest) -> Manifest:
    """A user's claim without its limit, which names how far a volume may grow and is not the claim's."""
    resources = {key: value for key, value in (spec.get("resources") or {}).items() if key != "limits"}
    return {**spec, "resources": resources}
