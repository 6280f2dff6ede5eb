"""What holds for every step, whatever the spec."""

import copy
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest

from pgoperator import labels, naming, pki
from pgoperator.api.cluster import PGCluster
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest, labels_of, name_of
from reconcilers.pgcluster import pipeline
from reconcilers.pgcluster.credentials import act_secrets, build_certificates
from reconcilers.pgcluster.credentials.read_user_secrets import UserSupplied
from reconcilers.pgcluster.instances import decide_membership
from reconcilers.pgcluster.state.view import View
from tests.support.pod_security import violations
from tests.support.views import NAMESPACE, NOW, cluster_manifest, view
from tests.unit.pgcluster.specs import SEEDS, VARIANTS, Spec, instances, random_cluster

DNS_LABEL = re.compile("[a-z0-9]([-a-z0-9]*[a-z0-9])?")
# RFC 1035: what a Service's name must be.
SERVICE_NAME = re.compile("[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile("([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
LABEL_KEY = re.compile("([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")

# The longest names that are let through: of the cluster alone, and of both.
_LONGEST = naming.CLUSTER_MAX
LONG: dict[str, tuple[str, Spec]] = {
    "long-cluster": ("c" * _LONGEST, {"instances": instances(name="s"), "users": []}),
    "long-set": (
        "c",
        {"instances": instances(name="s" * (naming.CLUSTER_AND_SET_MAX - 1), replicas=2)},
    ),
}
CLUSTERS: dict[str, tuple[str, Spec]] = (
    {variant: ("cluster1", spec) for variant, spec in VARIANTS.items()}
    | {f"random-{seed}": random_cluster(seed) for seed in SEEDS}
    | LONG
)
every_cluster = pytest.mark.parametrize("which", CLUSTERS)


def view_of(which: str, **more: Any) -> View:
    name, spec = CLUSTERS[which]
    return view(name=name, **(spec | more))


def manifests_of(one: View) -> list[Manifest]:
    answers = pipeline.build(one)
    assert answers.complete, answers
    return answers.manifests


def templates(manifests: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Every object with a pod template, and the template."""
    for manifest in manifests:
        if "template" in manifest.get("spec", {}):
            yield manifest, manifest["spec"]["template"]


def nodes(value: Any) -> Iterator[Any]:
    """Everything inside, itself included."""
    yield value
    if isinstance(value, dict):
        yield from chain.from_iterable(nodes(child) for child in value.values())
    if isinstance(value, list):
        yield from chain.from_iterable(nodes(child) for child in value)


@every_cluster
def test_the_same_view_gives_the_same_manifests(which: str) -> None:
    one = view_of(which)
    before = copy.deepcopy((one.manifest, one.observed))
    first = manifests_of(one)
    assert manifests_of(one) == first
    assert manifests_of(view_of(which)) == first
    assert (one.manifest, one.observed) == before


@every_cluster
def test_a_manifest_names_itself(which: str) -> None:
    for manifest in manifests_of(view_of(which)):
        assert manifest["apiVersion"] == kinds.BY_NAME[manifest["kind"]].api_version
        assert manifest["metadata"]["name"]
        assert manifest["metadata"]["namespace"] == NAMESPACE


@every_cluster
def test_nothing_is_none_and_all_is_plain(which: str) -> None:
    """What goes to the API server is JSON, and a null there would delete a field of somebody else."""
    for manifest in manifests_of(view_of(which)):
        assert {type(node) for node in nodes(manifest)} <= {dict, list, str, int, bool}


@every_cluster
def test_the_account_of_instances_writes_to_their_pods_and_endpoints_only(which: str) -> None:
    manifests = manifests_of(one := view_of(which))
    (role,) = (manifest for manifest in manifests if manifest["kind"] == "Role")
    writes = {
        rule["resources"][0]: rule["resourceNames"]
        for rule in role["rules"]
        if set(rule["verbs"]) - {"get", "list", "watch", "create"}
    }
    instances = [m for m in manifests if labels_of(m).get(labels.DATA) == labels.DATA_POSTGRES]
    pods = {f"{name_of(m)}-0" for m in instances if m["kind"] == "StatefulSet"}
    suffixes = ("ha", "ha-config", "ha-failover", "ha-sync")
    assert writes == {"pods": sorted(pods), "endpoints": [f"{one.name}-{suffix}" for suffix in suffixes]}


@every_cluster
def test_names_fit(which: str) -> None:
    for manifest in manifests_of(view_of(which)):
        name = name_of(manifest)
        assert len(name) <= 63
        assert DNS_LABEL.fullmatch(name)
        if manifest["kind"] == "Service":
            assert SERVICE_NAME.fullmatch(name)
        if manifest["kind"] == "StatefulSet":
            # Kubernetes adds `-<hash of up to 10 characters>` for the label controller-revision-hash.
            assert len(name) <= 63 - 11


@every_cluster
def test_no_name_is_used_twice(which: str) -> None:
    found = Counter((m["kind"], name_of(m)) for m in manifests_of(view_of(which)))
    assert not [name for name, count in found.items() if count > 1]


@every_cluster
def test_labels_fit(which: str) -> None:
    for node in chain.from_iterable(nodes(m) for m in manifests_of(view_of(which))):
        if not isinstance(node, dict):
            continue
        for key in ("labels", "matchLabels", "selector"):
            found = node.get(key, {})
            if key == "selector" and "matchLabels" in found:
                continue
            for label, value in found.items():
                assert LABEL_KEY.fullmatch(label)
                assert LABEL_VALUE.fullmatch(value)
                assert len(value) <= 63


@every_cluster
def test_every_object_and_every_pod_carries_the_cluster_s_label(which: str) -> None:
    one = view_of(which)
    manifests = manifests_of(one)
    for manifest in (*manifests, *(template for _, template in templates(manifests))):
        assert labels_of(manifest)[labels.CLUSTER] == one.name


@every_cluster
def test_selectors_find_what_they_are_made_for(which: str) -> None:
    manifests = manifests_of(view_of(which))
    for manifest, template in templates(manifests):
        selector = manifest["spec"]["selector"]["matchLabels"]
        assert selector.items() <= labels_of(template).items()
        others = [labels_of(t) for m, t in templates(manifests) if m is not manifest]
        assert not [other for other in others if selector.items() <= other.items()]


@every_cluster
def test_services_lead_to_ports_that_pods_have(which: str) -> None:
    manifests = manifests_of(view_of(which))
    pods = [(labels_of(t), t["spec"]) for _, t in templates(manifests)]
    for service in (m for m in manifests if m["kind"] == "Service"):
        # Patroni gives an instance its role while it runs.
        selector = {k: v for k, v in service["spec"].get("selector", {}).items() if v != labels.ROLE_REPLICA}
        behind = [spec for own, spec in pods if selector.items() <= own.items()]
        for port in service["spec"].get("ports", []) if "selector" in service["spec"] else []:
            names = [
                {p["name"]: p["containerPort"] for c in s["containers"] for p in c["ports"]} for s in behind
            ]
            assert any(found.get(port["targetPort"]) == port["port"] for found in names)


@every_cluster
def test_pods_are_whole(which: str) -> None:
    """Mounts have their volumes, volumes their mounts, probes their ports, and no name is used twice."""
    for _, template in templates(manifests_of(view_of(which))):
        spec = template["spec"]
        volumes = [volume["name"] for volume in spec["volumes"]]
        mounted = {mount["name"] for one in spec["containers"] for mount in one["volumeMounts"]}
        assert sorted(volumes) == sorted(mounted)
        assert labels.DEFAULT_CONTAINER in template["metadata"]["annotations"]
        names = [one["name"] for one in spec["containers"]]
        assert template["metadata"]["annotations"][labels.DEFAULT_CONTAINER] in names
        ports = [port for one in spec["containers"] for port in one["ports"]]
        assert len({port["name"] for port in ports}) == len({p["containerPort"] for p in ports}) == len(ports)
        for one in spec["containers"]:
            paths = [mount["mountPath"] for mount in one["volumeMounts"]]
            assert len(paths) == len(set(paths))
            for probe in (one.get("livenessProbe"), one.get("readinessProbe")):
                where = (probe or {}).get("httpGet") or (probe or {}).get("tcpSocket")
                assert where is None or where["port"] in {port["name"] for port in one["ports"]}


@every_cluster
def test_pods_pass_the_restricted_standard(which: str) -> None:
    for manifest, template in templates(manifests_of(view_of(which))):
        assert violations(template["spec"]) == [], name_of(manifest)


@every_cluster
def test_roots_of_file_systems_are_read_only(which: str) -> None:
    for _, template in templates(manifests_of(view_of(which))):
        for one in template["spec"]["containers"]:
            assert one["securityContext"]["readOnlyRootFilesystem"] is True


def made_secrets(one: View) -> dict[str, set[str]]:
    """Name -> keys of every Secret that a pass makes before it asks the steps."""
    root = build_certificates.certificate_authority({}, one.name, NOW)
    names = build_certificates.Names(one.name, one.namespace, "cluster.local")
    ca = pki.Pair(root["root.crt"], root["root.key"])
    wanted = act_secrets.desired_secrets(
        one.cluster,
        build_certificates.Issuer(ca, names, NOW),
        one.planned,
        UserSupplied(),
        backups_enabled=one.backups_enabled,
    )
    made = {metadata["name"]: set(want({})) for metadata, want in wanted}
    return made | {naming.cluster_ca(one.name): set(root)}


def sources(template: Manifest) -> Iterator[tuple[str, str, set[str]]]:
    """Kind, name and keys of what the volumes of a pod are made of."""
    for volume in template["spec"]["volumes"]:
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"], set()
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"], set()
        for source in volume.get("projected", {}).get("sources", []):
            for key, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
                if key in source and not source[key].get("optional"):
                    items = {item["key"] for item in source[key].get("items", [])}
                    yield kind, source[key]["name"], items


@every_cluster
def test_everything_a_pod_mounts_is_there(which: str) -> None:
    one = view_of(which)
    manifests = manifests_of(one)
    there = {(m["kind"], name_of(m)): set(m.get("data", {})) for m in manifests}
    there |= {("Secret", name): keys for name, keys in made_secrets(one).items()}
    bouncer = one.cluster.spec.pg_bouncer
    users_own = {
        projection["name"]
        for source in (
            *one.cluster.spec.backups.pgbackrest.configuration,
            *one.cluster.spec.config.files,
            *(bouncer.config.files if bouncer else ()),
        )
        for projection in source.values()
    }
    for _, template in templates(manifests):
        for kind, name, keys in sources(template):
            if name not in users_own:
                assert keys <= there[kind, name], f"{kind} {name}"
        account = template["spec"].get("serviceAccountName")
        assert account is None or ("ServiceAccount", account) in there


@every_cluster
def test_every_right_belongs_to_an_account(which: str) -> None:
    manifests = manifests_of(view_of(which))
    there = {(m["kind"], name_of(m)) for m in manifests}
    for binding in (m for m in manifests if m["kind"] == "RoleBinding"):
        assert ("Role", binding["roleRef"]["name"]) in there
        assert all((s["kind"], s["name"]) in there for s in binding["subjects"])
    for role in (m for m in manifests if m["kind"] == "Role"):
        assert "*" not in [word for rule in role["rules"] for words in rule.values() for word in words]


@every_cluster
def test_stateful_sets_have_the_service_that_names_their_pods(which: str) -> None:
    manifests = manifests_of(view_of(which))
    services = {name_of(m) for m in manifests if m["kind"] == "Service"}
    assert {m["spec"]["serviceName"] for m in manifests if m["kind"] == "StatefulSet"} <= services


def test_two_clusters_in_one_namespace_share_no_name() -> None:
    seen: Counter[tuple[str, str]] = Counter()
    for which in (f"random-{seed}" for seed in SEEDS):
        one = view_of(which)
        seen.update((m["kind"], name_of(m)) for m in manifests_of(one))
        seen.update(("Secret", name) for name in made_secrets(one))
    assert not [key for key, count in seen.items() if count > 1]


@pytest.mark.parametrize(
    ("first", "second"), [("a", "b"), ("cluster1", "cluster2"), ("c", "cc"), ("db", "db-2")]
)
def test_clusters_of_like_names_share_no_name(first: str, second: str) -> None:
    def names(cluster: str) -> set[tuple[str, str]]:
        one = view(name=cluster)
        made = {(m["kind"], name_of(m)) for m in manifests_of(one)}
        return made | {("Secret", name) for name in made_secrets(one)}

    assert not names(first) & names(second)


# --- what is off --------------------------------------------------------------------------------------


def mentions(manifests: list[Manifest], word: str) -> list[str]:
    """Objects that name something; texts of files, what may be missing and what pods keep away from aside."""
    found = []
    for manifest in copy.deepcopy(manifests):
        manifest.pop("data", None)
        for node in nodes(manifest):
            if isinstance(node, dict):
                node.pop("topologySpreadConstraints", None)
                if isinstance(node.get("secret"), dict) and node["secret"].get("optional"):
                    del node["secret"]
        if word in str(manifest):
            found.append(f"{manifest['kind']} {name_of(manifest)}")
    return found


@pytest.mark.parametrize("variant", ["no-pooler", "pooler-of-0"])
def test_without_a_pooler_nothing_of_it_is_there(variant: str) -> None:
    one = view_of(variant)
    assert pipeline.BUILDERS["pgbouncer"](one) == []
    assert mentions(manifests_of(one), "pgbouncer") == []


def test_without_backups_nothing_of_them_is_there() -> None:
    one = view_of("no-backups")
    manifests = manifests_of(one)
    assert pipeline.BUILDERS["repository"](one) == []
    assert mentions(manifests, "pgbackrest") == []
    assert mentions(manifests, "repo") == []
    [config] = [m for m in manifests if name_of(m) == naming.cluster_config("cluster1")]
    assert "pgbackrest" not in config["data"]["patroni.yaml"]


def test_without_volumes_no_repository_is_claimed() -> None:
    manifests = manifests_of(view_of("s3-only"))
    claims = [name_of(m) for m in manifests if m["kind"] == "PersistentVolumeClaim"]
    assert len(claims) == 3
    assert all(name.endswith("-pgdata") for name in claims)


def test_one_instance_has_no_service_of_replicas_and_no_budget() -> None:
    manifests = manifests_of(view_of("one-instance"))
    names = {(m["kind"], name_of(m)) for m in manifests}
    assert ("Service", "cluster1-replicas") not in names
    assert ("PodDisruptionBudget", "cluster1-set-instance1") not in names
    assert ("PodDisruptionBudget", "cluster1-pgbouncer") in names


# --- what must not restart pods -----------------------------------------------------------------------


def pod_templates(one: View) -> dict[str, Manifest]:
    return {name_of(manifest): template for manifest, template in templates(manifests_of(one))}


def running(one: View) -> list[Manifest]:
    """What Kubernetes and Patroni add once the cluster runs."""
    objects: list[Manifest] = copy.deepcopy([m for m in manifests_of(one) if m["kind"] != "Endpoints"])
    for number, planned in enumerate(one.planned):
        role = "primary" if number == 0 else "replica"
        own = labels.instance(one.name, planned.set_name, planned.name)
        own |= {labels.DATA: labels.DATA_POSTGRES, labels.ROLE: role}
        objects.append(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": naming.pod(planned.name),
                    "namespace": NAMESPACE,
                    "uid": f"pod-{number}",
                    "labels": own,
                    "annotations": {"status": '{"state": "streaming", "version": "4.0.5"}'},
                },
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            }
        )
    for service in (m for m in objects if m["kind"] == "Service"):
        service["spec"].setdefault("clusterIP", "10.96.0.9")
    endpoints = {
        naming.patroni_scope(one.name): {"leader": naming.pod(one.planned[0].name), "renewTime": "x"},
        naming.patroni_config(one.name): {"initialize": "7", "config": '{"ttl": 30}'},
    }
    objects += [
        {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "labels": labels.of_cluster(one.name),
                "annotations": annotations,
            },
        }
        for name, annotations in endpoints.items()
    ]
    return objects


@every_cluster
def test_templates_follow_the_spec_and_nothing_else(which: str) -> None:
    name, spec = CLUSTERS[which]
    fresh = view(name=name, **spec)
    status = {
        "state": "ready",
        "observedGeneration": 1,
        "patroni": {"status": {"systemIdentifier": "7"}},
        "pgbackrest": {"repos": [{"name": "repo1", "stanzaCreated": True, "repoOptionsHash": "x"}]},
    }
    later = view(running(fresh), name=name, status=status, **spec)
    assert pod_templates(later) == pod_templates(fresh)


@pytest.mark.parametrize(
    "change",
    [
        {"users": VARIANTS["users"]["users"]},
        {"patroni": {"dynamicConfiguration": {"postgresql": {"parameters": {"work_mem": "8MB"}}}}},
        {"expose": {"type": "NodePort"}, "exposeReplicas": {"type": "LoadBalancer"}},
        {"instances": instances(replicas=2), "proxy": {"pgBouncer": {"replicas": 5}}},
        {"proxy": {"pgBouncer": {"config": {"global": {"pool_mode": "transaction"}}}}},
        {"extensions": {"pg_stat_statements": {"enabled": True}}},
        {"tls": {"certValidityDuration": "1h"}},
    ],
)
def test_what_needs_no_restart_changes_no_template(change: Spec) -> None:
    before, after = (
        pod_templates(view(instances=instances())),
        pod_templates(view(**{"instances": instances(), **change})),
    )
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("change", [VARIANTS["ports"], VARIANTS["images"]])
def test_what_needs_a_restart_changes_templates(change: Spec) -> None:
    before, after = pod_templates(view()), pod_templates(view(**change))
    assert all(before[name] != after[name] for name in before)


def test_scaling_changes_only_what_is_added() -> None:
    """An instance that exists is not touched when another comes or goes, nor when a set is added."""
    three = {name_of(m): m for m in manifests_of(view())}
    one = {name_of(m): m for m in manifests_of(view(instances=instances()))}
    [only] = [p.name for p in view(instances=instances()).planned]
    assert three[only] == one[only]


# --- a step that cannot answer -------------------------------------------------------------------------


def test_a_step_that_refuses_does_not_keep_the_others_from_answering() -> None:
    bad: Spec = {"expose": {"type": "ClusterIP", "nodePort": 30001}}
    answers = pipeline.build(view(**bad))
    assert [problem.reason for problem in answers.problems] == ["MisconfiguredClusterIP"]
    assert not answers.complete
    assert {"StatefulSet", "Deployment", "ConfigMap"} <= {m["kind"] for m in answers.manifests}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"postgresVersion": 16}, "MissingRequiredImage"),
        ({"backups": {"pgbackrest": {"repos": [{"name": "repo1"}]}}}, "InvalidBackupRepo"),
        ({"exposeReplicas": {"nodePort": 30001}}, "MisconfiguredClusterIP"),
        ({"proxy": {"pgBouncer": {"expose": {"nodePort": 30001}}}}, "MisconfiguredClusterIP"),
        ({"patroni": {"dynamicConfiguration": {"postgresql": "x"}}}, "InvalidDynamicConfiguration"),
        (
            {"patroni": {"dynamicConfiguration": {"postgresql": {"parameters": ["x"]}}}},
            "InvalidDynamicConfiguration",
        ),
        (
            {"patroni": {"dynamicConfiguration": {"postgresql": {"pg_hba": "x"}}}},
            "InvalidDynamicConfiguration",
        ),
    ],
)
def test_what_cannot_be_is_told_with_a_cause(spec: Spec, reason: str) -> None:
    answers = pipeline.build(view(**spec))
    assert [problem.reason for problem in answers.problems[:1]] == [reason]
    assert all(problem.message for problem in answers.problems)


@pytest.mark.parametrize(
    "spec",
    [
        {"patroni": {"dynamicConfiguration": {"postgresql": None, "tags": {}}}},
        {"patroni": {"dynamicConfiguration": {"postgresql": {"parameters": None, "pg_hba": None}}}},
        {"instances": instances(resources={"limits": None})},
        {"instances": [{"name": "a", "dataVolumeClaimSpec": {"accessModes": ["ReadWriteOnce"]}}]},
        {"instances": [{"name": "a", "dataVolumeClaimSpec": {"resources": None}}]},
        {"instances": instances(affinity={}, tolerations=[], resources={}, topologySpreadConstraints=[])},
        {"expose": {}, "exposeReplicas": {}, "metadata": {}, "backups": {"enabled": False, "pgbackrest": {}}},
        {"metadata": {"labels": {}, "annotations": {}}},
        {"image": "", "imagePullSecrets": [], "crVersion": ""},
    ],
)
def test_empty_fields_are_as_good_as_none(spec: Spec) -> None:
    answers = pipeline.build(view(**spec))
    assert answers.complete, answers.problems
    if "None" not in str(spec):
        for manifest in answers.manifests:
            assert None not in list(nodes(manifest))


def test_labels_that_the_operator_selects_by_cannot_be_set_by_a_user() -> None:
    """`role: pgbouncer` on every pod would put databases behind the pooler's Service."""
    own = {labels.ROLE: labels.ROLE_PGBOUNCER, labels.DATA: "mine", labels.CLUSTER: "other", "team": "a"}
    user = {"labels": own}
    specs: list[Spec] = [
        {"metadata": user},
        {"instances": instances(metadata=user)},
        {"expose": {"labels": own}},
    ]
    for spec in specs:
        changed, plain = (
            view(**spec),
            view(**{key: value for key, value in spec.items() if key == "instances"}),
        )
        for new, old in zip(manifests_of(changed), manifests_of(plain), strict=True):
            ours = {k: v for k, v in labels_of(new).items() if k.startswith(labels.CRUNCHY)}
            assert ours == {k: v for k, v in labels_of(old).items() if k.startswith(labels.CRUNCHY)}


def test_no_annotation_or_label_is_lost_on_the_way() -> None:
    for manifest in manifests_of(view_of("metadata")):
        assert {"team": "data", "tier": "1"}.items() <= labels_of(manifest).items()
        assert manifest["metadata"]["annotations"]["contact"] == "a@b.example"


def test_the_spec_that_the_api_accepts_is_the_one_used_here() -> None:
    """The default of the views is a cluster that a user could write."""
    assert PGCluster.parse(cluster_manifest()).spec.replicas == 3
    assert len(decide_membership.planned("cluster1", {"instance1": 3}, view().observed)) == 3
