"""The samples: complete, distinct, documented, and acted on by the operator in full."""

import re
import shutil
import subprocess
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pgoperator import naming, pki_check
from pgoperator.api import PGCluster
from pgoperator.api.ignored import ignored_fields
from pgoperator.kube.manifest import Manifest
from pgoperator.postgres import pgbackrest_options
from reconcilers.pgcluster import pipeline
from reconcilers.pgcluster.backups import decide_schedules
from reconcilers.pgcluster.patroni import build_dynamic_config
from tests.support import documents
from tests.support.examples import FILES, FOLDER, clusters, objects, seen, text
from tests.support.kubectl import REPOSITORY

CLUSTERS = clusters()
OF_CLUSTER1 = {"backup": "backup1", "restore": "restore1"}
"""Samples whose object has another name than the file."""


def containers(manifests: list[Manifest]) -> list[tuple[str, Manifest]]:
    """Return the containers of all workloads, with the names of both."""
    return [
        (f"{manifest['metadata']['name']}/{container['name']}", container)
        for manifest in manifests
        if "template" in manifest.get("spec", {})
        for container in manifest["spec"]["template"]["spec"]["containers"]
    ]


def has_memory(resources: Any) -> bool:
    """Return whether both the request and the limit name an amount of memory."""
    return all("memory" in (resources or {}).get(key, {}) for key in ("requests", "limits"))


def pgbackrest(cluster: Manifest) -> Any:
    """Return the settings of backups; None when they are off."""
    backups = cluster["spec"]["backups"]
    return None if backups.get("enabled") is False else backups["pgbackrest"]


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_operator_acts_on_each_cluster_in_full(name: str) -> None:
    manifest = CLUSTERS[name]
    cluster = PGCluster.parse(manifest)
    naming.check_names(cluster.name, [one.name for one in cluster.spec.instance_sets()])
    view = seen(manifest)
    answers = pipeline.build(view)
    assert answers.complete, (answers.problems, answers.waits)
    assert ignored_fields(manifest) == []
    assert build_dynamic_config.overridden(view) == []
    asked = decide_schedules.schedules(cluster.name, cluster.spec.backups.repos)
    assert decide_schedules.turns(asked, (), datetime.now(UTC)).bad == ()


@pytest.mark.parametrize("name", CLUSTERS)
def test_all_containers_have_a_memory_request_and_a_limit(name: str) -> None:
    manifest = CLUSTERS[name]
    made = pipeline.build(seen(manifest)).manifests
    assert [where for where, one in containers(made) if not has_memory(one.get("resources"))] == []
    source = manifest["spec"].get("dataSource") or {}
    assert all(has_memory(one.get("resources")) for one in source.values())
    if settings := pgbackrest(manifest):
        assert has_memory(settings["jobs"]["resources"])


@pytest.mark.parametrize("name", [name for name in CLUSTERS if pgbackrest(CLUSTERS[name])])
def test_each_repository_has_a_retention(name: str) -> None:
    settings = pgbackrest(CLUSTERS[name])
    for repo in settings["repos"]:
        assert int(settings["global"][f"{repo['name']}-retention-full"]) > 0


@pytest.mark.parametrize("name", CLUSTERS)
def test_variables_come_from_objects_of_the_sample_or_of_the_operator(name: str) -> None:
    view = seen(CLUSTERS[name])
    known = {*view.user_secrets.values(), *(one["metadata"]["name"] for one in objects(name))}
    assert {reference.name for reference in view.referenced} <= known


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_secret_or_config_map_that_a_sample_brings_is_used(name: str) -> None:
    for brought in objects(name):
        if brought["kind"] in ("Secret", "ConfigMap"):
            assert brought["metadata"]["name"] in str(CLUSTERS[name])


def test_options_of_backups_and_restores_are_accepted() -> None:
    checks = {"PerconaPGBackup": pgbackrest_options.backup, "PerconaPGRestore": pgbackrest_options.restore}
    checked = 0
    for name in FILES:
        for one in objects(name):
            if check := checks.get(one["kind"]):
                check(one["spec"].get("options", ()))
                checked += 1
    assert checked >= 3


def test_names_are_distinct_and_those_of_the_files() -> None:
    every = [(one["kind"], one["metadata"]["name"]) for name in FILES for one in objects(name)]
    assert [name for name, count in Counter(every).items() if count > 1] == []
    for name in FILES:
        ours = [o["metadata"]["name"] for o in objects(name) if o["kind"].startswith("Percona")]
        assert ours == [OF_CLUSTER1.get(name, name)]


@pytest.mark.parametrize("name", FILES)
def test_a_sample_says_what_it_is_and_how_to_apply_it(name: str) -> None:
    first, *_ = lines = text(name).splitlines()
    assert re.fullmatch(r"# [A-Z].*[.]( .*)?", first), first
    assert any(re.fullmatch(rf"# +kubectl apply --namespace NAMESPACE -f {name}\.yaml", one) for one in lines)
    assert [line for line in lines if len(line) > 120] == []
    for page in re.findall(r"docs/[\w/-]+\.md", text(name)):
        assert (REPOSITORY / page).is_file(), page


def test_the_page_links_to_each_sample_once() -> None:
    linked = [Path(link).name for link in documents.links("docs/examples.md") if link.endswith(".yaml")]
    assert sorted(linked) == sorted(path.name for path in FOLDER.iterdir())


def test_the_commands_for_certificates_make_what_the_operator_accepts(tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not on this machine")
    comment = [line for line in text("own-certificates").splitlines() if line.startswith("#   ")]
    script = "\n".join(line.removeprefix("#   ") for line in comment).replace("NAMESPACE", "ns1")
    script = f'set -e\nkubectl() {{ echo "$*" >>calls; }}\n{script}\n'
    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True, capture_output=True)
    made = (tmp_path / "calls").read_text(encoding="utf-8")
    spec, now = CLUSTERS["own-certificates"]["spec"], datetime.now(UTC)
    ca = (tmp_path / "ca.crt").read_bytes()
    for settings, file in ((spec["secrets"], "primary"), (spec["proxy"]["pgBouncer"], "pgbouncer")):
        assert f"create secret generic {settings['customTLSSecret']['name']} " in made
        cert, key = ((tmp_path / f"{file}.{end}").read_bytes() for end in ("crt", "key"))
        host = f"own-certificates-{file}"
        assert pki_check.leaf_problem(cert, key, now, host=host) is None
        assert pki_check.leaf_problem(cert, key, now, host=f"{host}.ns1.svc") is None
        assert pki_check.chain_problem(cert, ca, now) is None
