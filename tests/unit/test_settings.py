import subprocess
import sys
from typing import Any

import pytest
import yaml

from pgoperator.install.variables import VARIABLES, Variable
from pgoperator.settings import FEATURES, SERVICE_ACCOUNT_DIR, BadSetting, LeaseSettings, Settings
from tests.support.documents import ROOT


def read(**environ: str) -> Settings:
    return Settings.from_env({"PGO_SERVICE_ACCOUNT_DIR": "/nonexistent"} | environ)


def test_defaults() -> None:
    assert read() == Settings(service_account_dir="/nonexistent")
    assert read(WATCH_NAMESPACE="", LOG_LEVEL=" ", PGO_WORKERS="") == read()
    assert read().lease == LeaseSettings(True, "08db3feb.percona.com", 15, 10, 2)


@pytest.mark.parametrize(
    ("environ", "namespaces"),
    [
        ({"WATCH_NAMESPACE": "one"}, ("one",)),
        ({"WATCH_NAMESPACE": "one, two,one,"}, ("one", "two")),
        ({"PGO_TARGET_NAMESPACE": "one"}, ("one",)),
        ({"PGO_TARGET_NAMESPACES": "one,two", "PGO_TARGET_NAMESPACE": "three"}, ("one", "two")),
        ({"WATCH_NAMESPACE": "four", "PGO_TARGET_NAMESPACES": "one"}, ("four",)),
        ({"WATCH_NAMESPACE": ","}, ()),
    ],
)
def test_watched_namespaces(environ: dict[str, str], namespaces: tuple[str, ...]) -> None:
    assert read(**environ).namespaces == namespaces


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("1m30s", 90), ("60", 60), ("1h", 3600), ("20500ms", 20.5), ("11.5s", 11.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert read(PGO_CONTROLLER_LEASE_DURATION=text).lease.duration == seconds


def test_images_go_by_component_and_major_version() -> None:
    settings = read(
        RELATED_IMAGE_POSTGRES_17="pg:17",
        RELATED_IMAGE_POSTGRES_16=" pg:16 ",
        RELATED_IMAGE_PGBOUNCER="bouncer",
        RELATED_IMAGE_PGBACKREST="",
    )
    assert settings.related_image("postgres", 17) == "pg:17"
    assert settings.related_image("postgres", 16) == "pg:16"
    assert settings.related_image("postgres", 15) is None
    assert settings.related_image("pgbouncer") == "bouncer"
    assert settings.related_image("pgbackrest") is None


def test_words() -> None:
    settings = read(LOG_LEVEL="warn", LOG_STRUCTURED="false", PGO_CONTROLLER_LEADER_ELECTION_ENABLED="False")
    assert settings.log_level == "WARNING"
    assert not settings.structured
    assert not settings.lease.enabled


def test_features_are_the_defaults_with_changes() -> None:
    assert read().features == FEATURES
    features = read(PGO_FEATURE_GATES="TablespaceVolumes=false, AutoGrowVolumes=true").features
    assert features == FEATURES | {"TablespaceVolumes": False, "AutoGrowVolumes": True}


def test_operator_namespace_comes_from_the_environment_or_the_account(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    (folder / "namespace").write_text("mine\n")
    assert Settings.from_env({"PGO_SERVICE_ACCOUNT_DIR": str(folder)}).operator_namespace == "mine"
    assert read(PGO_NAMESPACE="pgo").operator_namespace == "pgo"
    assert read(PGO_NAMESPACE="pgo", OPERATOR_NAMESPACE="op").operator_namespace == "op"
    assert read().operator_namespace == "default"


@pytest.mark.parametrize(
    ("variable", "value", "wanted"),
    [
        ("WATCH_NAMESPACE", "Bad_Name", "name of a namespace"),
        ("PGO_WORKERS", "0", "whole number"),
        ("PGO_WORKERS", "many", "whole number"),
        ("LOG_LEVEL", "LOUD", "DEBUG, INFO"),
        ("LOG_STRUCTURED", "maybe", "true or false"),
        ("PGO_CONTROLLER_LEASE_DURATION", "15 parsecs", "duration"),
        ("PGO_CONTROLLER_LEASE_NAME", "INVALID_NAME", "lower-case"),
        ("PGO_CONTROLLER_RENEW_DEADLINE", "20s", "PGO_CONTROLLER_LEASE_DURATION"),
        ("PGO_CONTROLLER_RETRY_PERIOD", "10s", "PGO_CONTROLLER_RETRY_PERIOD"),
        ("PGO_FEATURE_GATES", "Unknown=true", "Unknown"),
        ("PGO_FEATURE_GATES", "TablespaceVolumes", "Feature=true|false"),
        ("RELATED_IMAGE_POSTGRES_17", "two images", "one image"),
        ("PGO_METRICS_PORT", "http", "port"),
    ],
)
def test_malformed_variables_are_named_with_what_is_expected(variable: str, value: str, wanted: str) -> None:
    with pytest.raises(BadSetting) as caught:
        read(**{variable: value})
    assert variable in str(caught.value)
    assert wanted in str(caught.value)


def test_the_process_says_so_and_ends(capfd: pytest.CaptureFixture[str]) -> None:
    from pgoperator import app

    assert app.run({"PGO_WORKERS": "x"}) == 2
    assert "PGO_WORKERS" in capfd.readouterr().err


def test_a_gate_that_changes_nothing_is_named() -> None:
    assert read().unused_features() == []
    assert read(PGO_FEATURE_GATES="TablespaceVolumes=true,BackupSnapshots=false").unused_features() == []
    settings = read(PGO_FEATURE_GATES="TablespaceVolumes=false,BackupSnapshots=true")
    assert settings.unused_features() == ["BackupSnapshots", "TablespaceVolumes"]


def test_the_process_warns_of_gates_without_effect() -> None:
    warning, *_ = log_of(PGO_FEATURE_GATES="BackupSnapshots=true")
    assert "feature gates without effect" in warning
    assert "BackupSnapshots" in warning


def log_of(**environ: str) -> list[str]:
    """Start a process of its own, which ends because no Kubernetes is there, and return its lines."""
    command = [sys.executable, "-m", "pgoperator", "run"]
    environ |= {"KUBECONFIG": "/nonexistent", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    return done.stderr.splitlines()


class Recorder(dict[str, str]):
    """An environment that remembers what was asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)


DOCUMENTED = [variable for _, group in VARIABLES for variable in group]


def test_the_reference_names_every_variable_that_is_read() -> None:
    environ = Recorder()
    Settings.from_env(environ)
    of_access = {"KUBECONFIG"}  # pgoperator/kube/access.py
    assert {name for variable in DOCUMENTED for name in variable.names} == environ.asked | of_access


@pytest.mark.parametrize("variable", DOCUMENTED, ids=lambda variable: variable.names[0])
def test_the_reference_shows_the_default(variable: Variable) -> None:
    assert variable.default or variable.shown
    for name in variable.names:
        if variable.default and name != "PGO_SERVICE_ACCOUNT_DIR":
            assert read(**{name: variable.default}) == read()
    assert SERVICE_ACCOUNT_DIR in {variable.default for variable in DOCUMENTED}


def test_the_reference_names_values_of_the_chart() -> None:
    values = yaml.safe_load((ROOT / "charts/pg-operator/values.yaml").read_text(encoding="utf-8"))
    for path in (path for variable in DOCUMENTED for path in variable.chart.split(", ") if path):
        node = values
        for step in path.split("."):
            assert step in node, path
            node = node[step]
