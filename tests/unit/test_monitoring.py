"""The alerts do what they say, and lead to a page; monitors and board fit what is there to be watched."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgoperator.install.deployment import deployment
from tests.support import documents
from tests.support.prometheus import MONITORING, alerts, shipped_configuration

ROOT = documents.ROOT
ALERTS = {rule["alert"]: rule for rule in alerts()}
TESTS = sorted((ROOT / "tests/monitoring").glob("*.yaml"))
PAGE = "docs/operations/alerts.md"
PODS = {
    "pgoperator": deployment(cluster_wide=False)["spec"]["template"],
    "patroni": next(
        document["spec"]["template"]
        for document in yaml.safe_load_all((ROOT / "tests/golden/instances/default.yaml").read_text())
        if document["kind"] == "StatefulSet"
    ),
}
MONITORS = {
    m["metadata"]["name"]: m for m in yaml.safe_load_all((MONITORING / "podmonitors.yaml").read_text())
}


def promtool(*arguments: str | Path) -> None:
    program = shutil.which("promtool")
    assert program, "promtool is missing: python3 -m local test-tools"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_alerts_fire_for_their_cause(path: Path) -> None:
    promtool("test", "rules", path)


def test_every_alert_is_seen_firing_and_silent() -> None:
    found = [
        case
        for path in TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    assert {case["alertname"] for case in found if case.get("exp_alerts")} == set(ALERTS)
    assert {case["alertname"] for case in found if not case.get("exp_alerts")} == set(ALERTS)


def test_every_alert_is_seen_firing_on_the_local_cluster() -> None:
    text = (ROOT / "tests/e2e/test_monitoring.py").read_text()
    assert {name for name in ALERTS if f'"{name}"' not in text} == set()


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_leads_to_its_section(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["runbook_url"] == f"{PAGE}#{name.lower()}"
    assert name.lower() in documents.anchors(PAGE)


def test_the_page_has_no_section_of_an_alert_that_is_gone() -> None:
    named = re.findall(r"^## (Postgres\w+)$", documents.read(PAGE), re.MULTILINE)
    assert named == list(ALERTS)


def test_the_prometheus_rule_has_the_same_alerts() -> None:
    rule = yaml.safe_load((MONITORING / "prometheusrule.yaml").read_text())
    assert rule["spec"] == yaml.safe_load((MONITORING / "rules.yaml").read_text())


def test_prometheus_takes_the_configuration(tmp_path: Path) -> None:
    configuration = shipped_configuration()
    for job in configuration["scrape_configs"]:
        # Debian builds its Prometheus without them.
        assert job.pop("kubernetes_sd_configs")
        job.get("authorization", {}).pop("credentials_file", None)
        job.get("tls_config", {}).pop("ca_file", None)
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    shutil.copy(MONITORING / "rules.yaml", tmp_path)
    promtool("check", "config", tmp_path / "prometheus.yaml")


def test_what_gets_the_token_is_verified() -> None:
    jobs = shipped_configuration()["scrape_configs"]
    with_token = [job for job in jobs if "authorization" in job]
    assert [job["job_name"] for job in with_token] == ["kubelet"]
    assert not any(job["tls_config"].get("insecure_skip_verify") for job in with_token)


@pytest.mark.parametrize("name", PODS)
def test_a_monitor_finds_its_pods(name: str) -> None:
    pod, spec = PODS[name], MONITORS[name]["spec"]
    labels = pod["metadata"]["labels"]
    selector = spec["selector"]
    assert selector["matchLabels"].items() <= labels.items()
    assert {e["key"] for e in selector.get("matchExpressions", [])} <= labels.keys()
    (endpoint,) = spec["podMetricsEndpoints"]
    ports = {port["name"] for container in pod["spec"]["containers"] for port in container.get("ports", [])}
    assert endpoint["port"] in ports


def test_the_scrape_configuration_finds_the_same_pods() -> None:
    jobs: dict[str, Any] = {job["job_name"]: job for job in shipped_configuration()["scrape_configs"]}
    assert set(jobs) == {*MONITORS, "kubelet"}
    for name, pod in PODS.items():
        (discovery,) = jobs[name]["kubernetes_sd_configs"]
        key, _, value = discovery["selectors"][0]["label"].partition("=")
        assert pod["metadata"]["labels"][key] == (value or pod["metadata"]["labels"][key])
        kept = next(r for r in jobs[name]["relabel_configs"] if r.get("action") == "keep")
        assert kept["regex"] == MONITORS[name]["spec"]["podMetricsEndpoints"][0]["port"]
        assert jobs[name].get("honor_labels", False) == MONITORS[name]["spec"]["podMetricsEndpoints"][0].get(
            "honorLabels", False
        )


def test_metrics_of_ours_in_alerts_and_board_exist() -> None:
    board = json.loads((MONITORING / "dashboard.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    queries += [rule["expr"] for rule in ALERTS.values()]
    code = (ROOT / "pgoperator/metrics.py").read_text()
    defined = set(re.findall(r'"((?:pgoperator|controller_runtime|workqueue|rest_client|leader)_\w+)"', code))
    named = re.findall(
        r"\b(?:pgoperator|controller_runtime|workqueue|rest_client|leader)_\w+", "\n".join(queries)
    )
    assert {re.sub("_(?:total|sum|count)$", "", name) for name in named} - defined == set()
