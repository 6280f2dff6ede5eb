"""Programs with drivers: built again when a source or the toolchain changes, and only then."""

from dataclasses import replace
from pathlib import Path

import pytest

from local import drivers
from local.console import LocalError
from tests.support.drivers import LANGUAGE


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that were built; the sources and the cache are empty folders."""
    folders: list[Path] = []

    def build(source: Path, folder: Path) -> None:
        assert folder.is_dir()
        folders.append(folder)

    monkeypatch.setattr(drivers, "SOURCES", tmp_path / "sources")
    monkeypatch.setattr(drivers, "_FOLDER", tmp_path / "cache")
    (tmp_path / "sources" / "own").mkdir(parents=True)
    own = drivers.Language(build, ("run", "{folder}/program"), ("echo", "1"))
    monkeypatch.setattr(drivers, "LANGUAGES", {"own": own})
    return folders


def test_a_program_is_built_once(built: list[Path]) -> None:
    [folder] = {drivers.ensure("own")[1].removesuffix("/program") for _ in range(2)}
    assert built == [Path(folder)]


def test_a_change_causes_another_build(built: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    drivers.ensure("own")
    (drivers.SOURCES / "own" / "driver").write_text("new")
    drivers.ensure("own")
    newer = replace(drivers.LANGUAGES["own"], version=("echo", "2"))
    monkeypatch.setitem(drivers.LANGUAGES, "own", newer)
    drivers.ensure("own")
    assert len(built) == 3


def test_a_build_that_failed_is_repeated(built: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(source: Path, folder: Path) -> None:
        (folder / "half").touch()
        raise LocalError("no network")

    good = drivers.LANGUAGES["own"]
    monkeypatch.setitem(drivers.LANGUAGES, "own", replace(good, build=fails))
    with pytest.raises(LocalError):
        drivers.ensure("own")
    monkeypatch.setitem(drivers.LANGUAGES, "own", good)
    drivers.ensure("own")
    assert [list(folder.iterdir()) for folder in built] == [[built[0] / ".stamp"]]


def test_a_missing_toolchain_is_named(built: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    missing = replace(drivers.LANGUAGES["own"], version=("no-such-tool", "--version"))
    monkeypatch.setitem(drivers.LANGUAGES, "own", missing)
    with pytest.raises(LocalError, match="no-such-tool"):
        drivers.ensure("own")
    assert built == []


def test_each_driver_has_a_language_with_sources() -> None:
    assert set(LANGUAGE.values()) == drivers.LANGUAGES.keys()
    for name in drivers.LANGUAGES:
        assert any((drivers.SOURCES / name).iterdir())
