import pytest

from pgoperator.settings import FEATURES, BadSetting, LeaseSettings, Settings


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
def test_malformed_variables_are_named_with_what_is_wanted(variable: str, value: str, wanted: str) -> None:
    with pytest.raises(BadSetting) as caught:
        read(**{variable: value})
    assert variable in str(caught.value)
    assert wanted in str(caught.value)


def test_the_process_says_so_and_ends(capfd: pytest.CaptureFixture[str]) -> None:
    from pgoperator import app

    assert app.run({"PGO_WORKERS": "x"}) == 2
    assert "PGO_WORKERS" in capfd.readouterr().err
