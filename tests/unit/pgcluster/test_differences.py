"""What Percona's operator and this one give the objects of the same cluster, and the table of differences.

`original.yaml` has the facts of a cluster that Percona's operator made. Each fact that only one side has must
be in the table of docs/reference/differences.md with a reason, and each row of the table must be true.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pgoperator import labels, naming, pki
from pgoperator.api.status import PGClusterStatus
from pgoperator.kube import kinds
from pgoperator.kube.manifest import Manifest, annotations_of, labels_of, name_of
from reconcilers.pgbackup import build_backup_jobs
from reconcilers.pgcluster import pipeline
from reconcilers.pgcluster.credentials import act_secrets, build_certificates, decide_lifetimes
from reconcilers.pgcluster.credentials.read_user_secrets import UserSupplied
from reconcilers.pgcluster.state.view import View
from tests.support import percona_running as running
from tests.support.views import NAMESPACE, NOW, view
from tests.unit.pgbackup.test_states import backup
from tests.unit.pgcluster.observed import claim
from tests.unit.pgcluster.test_status import World, shown

C = running.C
INSTANCE = "cluster1-instance1-2b9d"
PAGE = Path(__file__).parents[3] / "docs/reference/differences.md"
ORIGINAL: dict[str, list[str]] = yaml.safe_load((Path(__file__).parent / "original.yaml").read_text("utf-8"))
Facts = dict[str, set[str]]


def same_cluster() -> View:
    """This operator's view of the cluster that Percona's operator made."""
    found = running.objects()
    for one in found:
        one["metadata"]["namespace"] = NAMESPACE
        if (one["kind"], name_of(one)) == (kinds.SERVICE.kind, f"{C}-ha"):
            one["spec"] = one["spec"] | {"clusterIP": "10.0.0.1"}
    return view(found, crVersion="3.1.0", users=[{"name": "app", "databases": ["app"]}])


def facts(manifest: Manifest) -> Iterator[str]:
    yield from (f"label {key}={value}" for key, value in labels_of(manifest).items())
    yield from (f"annotation {key}" for key in annotations_of(manifest))
    yield from (f"key {key}" for key in manifest.get("data") or {})
    spec = manifest.get("spec") or {}
    if manifest["kind"] == kinds.SERVICE.kind:
        ports = spec.get("ports", [])
        yield from (f"port {p['name']}={p['port']}:{p.get('targetPort', p['port'])}" for p in ports)
    if isinstance(spec.get("template"), dict):
        yield from of_template(spec["template"])


def of_template(template: Manifest) -> Iterator[str]:
    yield from (f"pod {fact}" for fact in facts({"kind": "Pod", "metadata": template["metadata"]}))
    yield from (f"init container {one['name']}" for one in template["spec"].get("initContainers", []))
    for one in template["spec"]["containers"]:
        yield f"container {one['name']}"
        yield from (f"port {one['name']}/{p['name']}={p['containerPort']}" for p in one.get("ports", []))


def secrets(of: View) -> Iterator[Manifest]:
    root = build_certificates.certificate_authority({}, C, NOW)
    names = build_certificates.Names(C, NAMESPACE, "cluster.local")
    issuer = build_certificates.Issuer(pki.Pair(root["root.crt"], root["root.key"]), names, NOW)
    wanted = act_secrets.desired_secrets(
        of.cluster, issuer, of.planned, UserSupplied(), backups_enabled=True, version=of.cr_version
    )
    authority, _ = act_secrets._authority(of.cluster, None, decide_lifetimes.CertificateLifetimes(), NOW)
    for metadata, data in (*wanted, (authority, lambda _: root)):
        yield {"kind": "Secret", "metadata": metadata, "data": data({})}


def reported() -> PGClusterStatus:
    """The status of a ready cluster, with what only a running server and bound volumes show."""
    repo = {labels.PGBACKREST_REPO: "repo1", labels.PGBACKREST_VOLUME: "", labels.PGBACKREST: ""}
    volume = claim(naming.repo_volume(C, "repo1"), repo)
    known = PGClusterStatus.readable(
        {"postgres": {"version": 17, "imageID": "sha256:1", "size": 3, "ready": 3}}
    )
    return shown(World(more=[volume]), previous=known, claims=[volume])


def paths(value: Any, path: str = "") -> Iterator[str]:
    """The paths of all values; `[]` stands for the elements of a list."""
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from paths(below, f"{path}.{key}".removeprefix("."))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for below in value:
            yield from paths(below, f"{path}[]")
    else:
        yield path


def ours() -> Facts:
    of = same_cluster()
    wanted = backup()
    job = build_backup_jobs.backup(of, wanted, of.repos[0], [], "replica-create")
    found: Facts = {}
    for one in (*pipeline.build(of).manifests, *secrets(of), job):
        name = (
            name_of(one)
            .replace(INSTANCE, "INSTANCE")
            .replace(naming.backup_job(C, "backup", "uid-b1"), "backup")
        )
        found[f"{one['kind']} {name}"] = {fact.replace(INSTANCE, "INSTANCE") for fact in facts(one)}
    status = reported().to_manifest()
    conditions = {f"condition {one['type']}" for one in status.pop("conditions")}
    found[f"PerconaPGCluster {C}"] = conditions | {f"status {path}" for path in paths(status)}
    return {key: value for key, value in found.items() if not re.search("-(9cbc|mfgv)", key)}


SIDES = ("Percona's", "this one")


def differences() -> dict[tuple[str, str], str]:
    """(object, fact) -> the side that has it; an object that one side lacks is one fact."""
    mine, found = ours(), dict[tuple[str, str], str]()
    for key in sorted(mine.keys() | ORIGINAL.keys()):
        one, other = set(ORIGINAL.get(key, ())), mine.get(key, set())
        if key not in mine or key not in ORIGINAL:
            found[key, "object"] = SIDES[key in mine]
            continue
        found |= {(key, fact): SIDES[0] for fact in one - other}
        found |= {(key, fact): SIDES[1] for fact in other - one}
    return found


def rows() -> list[tuple[re.Pattern[str], re.Pattern[str], str]]:
    """The rows of the table: object, fact, side. A `*` stands for any text."""
    found = re.findall(
        r"^\| `([^`]+)` \| `([^`]+)` \| ([^|]+) \| [^|]{8,} \|$", PAGE.read_text("utf-8"), re.MULTILINE
    )
    return [(pattern(one), pattern(fact), side) for one, fact, side in found]


def pattern(text: str) -> re.Pattern[str]:
    return re.compile(re.escape(text).replace(r"\*", ".*"))


def holds(row: tuple[re.Pattern[str], re.Pattern[str], str], difference: tuple[tuple[str, str], str]) -> bool:
    (one, fact), side = difference
    return bool(row[0].fullmatch(one) and row[1].fullmatch(fact) and row[2] == side)


def test_every_difference_is_in_the_table_once_with_a_reason() -> None:
    table = rows()
    wrong = {one: n for one in differences().items() if (n := sum(holds(row, one) for row in table)) != 1}
    assert wrong == {}


def test_every_row_of_the_table_is_true() -> None:
    found = differences()
    assert rows()
    assert [row for row in rows() if not any(holds(row, one) for one in found.items())] == []


def test_the_facts_are_of_a_whole_cluster() -> None:
    kinds_of = {key.split()[0] for key in ORIGINAL}
    assert {"Secret", "ConfigMap", "Service", "StatefulSet", "Deployment", "PersistentVolumeClaim"} < kinds_of
    assert len(ORIGINAL) > 25
