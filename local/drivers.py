"""PostgreSQL drivers from their registries, each language with the tests' program for them, in the cache."""

import hashlib
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from local import host
from local.console import LocalError, step
from local.paths import CACHE, REPOSITORY
from local.shell import lock, logged, output, write

SOURCES = REPOSITORY / "tests" / "drivers"
_FOLDER = CACHE / "drivers"
_COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


@dataclass(frozen=True)
class Language:
    """A language: how its program is built into a folder, and how it is run from there."""

    build: Callable[[Path, Path], None]  # (sources, folder)
    command: tuple[str, ...]  # {folder} is the folder
    version: tuple[str, ...]  # prints the version of the toolchain
    packages: dict[str, str] = field(default_factory=dict)  # as in local.host


def _log(command: list[object], folder: Path | None = None, env: dict[str, str] | None = None) -> None:
    logged(command, "drivers", cwd=folder, env=env)


def _python(source: Path, folder: Path) -> None:
    _log([sys.executable, "-m", "venv", folder / "venv"])
    install = [folder / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet"]
    _log([*install, "--disable-pip-version-check", "--requirement", source / "requirements.txt"])
    shutil.copy(source / "driver.py", folder)


def _go(source: Path, folder: Path) -> None:
    env = {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-buildvcs=false -mod=readonly"}
    _log(["go", "build", "-o", folder / "driver", "."], source, env)


def _java(source: Path, folder: Path) -> None:
    maven = ["mvn", "--quiet", "--batch-mode", f"-Dmaven.repo.local={folder / 'maven'}"]
    _log([*maven, _COPY_DEPENDENCIES, f"-DoutputDirectory={folder}"], source)
    shutil.rmtree(folder / "maven")
    _log(["javac", "-cp", f"{folder}/*", "-d", folder, source / "Driver.java"])


def _node(source: Path, folder: Path) -> None:
    for file in source.iterdir():
        shutil.copy(file, folder)
    _log(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)


def _rust(source: Path, folder: Path) -> None:
    # A copy, because cargo writes the versions that it has chosen beside the sources.
    shutil.copytree(source, folder / "source")
    manifest = f"--manifest-path={folder / 'source' / 'Cargo.toml'}"
    _log(["cargo", "build", manifest, f"--target-dir={folder / 'target'}"])
    (folder / "target" / "debug" / "drivers").rename(folder / "driver")
    shutil.rmtree(folder / "target")


LANGUAGES = {
    "python": Language(_python, ("{folder}/venv/bin/python", "{folder}/driver.py"), (sys.executable, "-VV")),
    "go": Language(_go, ("{folder}/driver",), ("go", "version")),
    "java": Language(
        _java,
        ("java", "-cp", "{folder}:{folder}/*", "Driver"),
        ("javac", "-version"),
        {"default-jdk-headless": "/usr/bin/javac", "maven": "/usr/bin/mvn"},
    ),
    "node": Language(
        _node,
        ("node", "{folder}/driver.js"),
        ("node", "--version"),
        {"nodejs": "/usr/bin/node", "npm": "/usr/bin/npm"},
    ),
    # Debian 12 has no Rust that is new enough.
    "rust": Language(_rust, ("{folder}/driver",), ("cargo", "--version")),
}


def ensure(name: str) -> list[str]:
    """Build the program of a language unless it is current; return its command. LocalError without tools."""
    language, folder = LANGUAGES[name], _FOLDER / name
    host.install_packages(language.packages)
    if not shutil.which(language.version[0]):
        raise LocalError(f"the drivers of {name} need {language.version[0]!r}, which is not installed")
    stamp, wanted = folder / ".stamp", _digest(name, language)
    with lock(f"drivers-{name}"):
        if not stamp.is_file() or stamp.read_text() != wanted:
            with step(f"build the drivers of {name}"):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                language.build(SOURCES / name, folder)
            write(stamp, wanted)
    return [part.format(folder=folder) for part in language.command]


def _digest(name: str, language: Language) -> str:
    hashed = hashlib.sha256(output(language.version).encode())
    for file in sorted((SOURCES / name).rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            hashed.update(f"\0{file.relative_to(SOURCES)}\0".encode() + file.read_bytes())
    return hashed.hexdigest()
