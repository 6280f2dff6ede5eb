"""Builds Kubernetes and related programs from Go modules into the cache."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from local.console import LocalError, step
from local.paths import BIN
from local.shell import lock, logged, output, scratch, write
from local.versions import MODULES, Module

_GO_ENV = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=mod", "GOWORK": "off"}


def program(name: str) -> Path:
    """Return the path of a built program."""
    return BIN / name


def kubectl() -> Path:
    """Return the path of the installed kubectl, or of the built one if none is installed."""
    installed = shutil.which("kubectl")
    return Path(installed) if installed else program("kubectl")


def staging_replacements(go_mod: dict[str, object], version: str) -> dict[str, str]:
    """Return the published version of each module that is part of the Kubernetes source tree."""
    required = go_mod.get("Require") or []
    assert isinstance(required, list)
    return {
        item["Path"]: version
        for item in required
        if item["Path"].startswith("k8s.io/") and item["Version"] == "v0.0.0"
    }


def go_mod_text(module: Module, replacements: dict[str, str]) -> str:
    """Render the go.mod that pins one module."""
    lines = [f"module build/{module.name}", "", "go 1.24", "", f"require {module.path} {module.version}", ""]
    lines += [f"replace {path} => {path} {version}" for path, version in sorted(replacements.items())]
    return "\n".join(lines) + "\n"


def wanted_programs(module: Module) -> dict[str, str]:
    """Return program -> package to build; kubectl, which takes half a minute, only if none is installed."""
    return {
        name: package
        for name, package in module.programs.items()
        if name != "kubectl" or not shutil.which("kubectl")
    }


def stamp(module: Module) -> str:
    """Return a digest that identifies a build; a changed version or flag causes a new build."""
    text = json.dumps([module.path, module.version, module.programs, module.ldflags, _GO_ENV], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def is_built(module: Module) -> bool:
    """Return whether all programs of a module exist in the pinned version."""
    file = BIN / f".{module.name}.stamp"
    return (
        file.is_file()
        and file.read_text() == stamp(module)
        and all(os.access(program(name), os.X_OK) for name in wanted_programs(module))
    )


def build(names: Iterable[str]) -> None:
    """Build the programs of the named modules that are missing or out of date; LocalError without Go."""
    modules = [MODULES[name] for name in names]
    if all(map(is_built, modules)):
        return
    if not shutil.which("go"):
        raise LocalError("Go >= 1.24 is required to build Kubernetes: install it and add `go` to PATH")
    with lock("bins"):
        for module in modules:
            if not is_built(module):
                with step(f"building {module.name} {module.version} from source"):
                    _build(module)


def _build(module: Module) -> None:
    programs = wanted_programs(module)
    with scratch(module.name) as folder:
        replacements: dict[str, str] = {}
        if module.staged:
            source = json.loads(
                output(["go", "mod", "download", "-json", f"{module.path}@{module.version}"], env=_GO_ENV)
            )
            parsed = json.loads(output(["go", "mod", "edit", "-json", source["GoMod"]], env=_GO_ENV))
            replacements = staging_replacements(parsed, module.staging_version)
        write(folder / "go.mod", go_mod_text(module, replacements))
        packages = {name: f"{module.path}/{package}".rstrip("/") for name, package in programs.items()}
        log = f"build-{module.name}"
        # The exact version again: otherwise Go uses the newest, which the installed Go may not be able to
        # build.
        logged(
            ["go", "get", "-tool", *(f"{package}@{module.version}" for package in packages.values())],
            log,
            cwd=folder,
            env=_GO_ENV,
        )
        result = folder / "bin"
        result.mkdir()
        flags = ["-trimpath", f"-ldflags=-s -w {module.ldflags}".rstrip()]
        logged(["go", "build", *flags, "-o", f"{result}/", *packages.values()], log, cwd=folder, env=_GO_ENV)
        BIN.mkdir(parents=True, exist_ok=True)
        for name, package in packages.items():
            built = result / Path(package).name
            if not built.exists():  # a major version or a repository's name as the last element
                built = next(iter(result.iterdir()))
            built.rename(program(name))
        write(BIN / f".{module.name}.stamp", stamp(module))
