"""Configures pip in image builds with this machine's settings for the package index.

The settings are mounted read-only during the build, so no proxy address or certificate of this machine
becomes part of an image.
"""

import configparser
import os
from collections.abc import Mapping
from pathlib import Path

_CONFIG = "/etc/pip.conf"
# A later file overrides an earlier one.
_MACHINE_FILES = (_CONFIG, "~/.pip/pip.conf", "~/.config/pip/pip.conf")
_CERTIFICATES = "/run/build-ca.crt"
_OPTIONS = ("INDEX_URL", "EXTRA_INDEX_URL", "PROXY", "TRUSTED_HOST", "DEFAULT_TIMEOUT", "RETRIES")
_BUNDLES = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pki/tls/certs/ca-bundle.crt"))


def certificates(environment: Mapping[str, str]) -> Path | None:
    """Return the CA bundle of this machine, None without one."""
    named = [environment.get(name) for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")]
    candidates = [Path(name) for name in named if name] + list(_BUNDLES)
    return next((path for path in candidates if path.is_file()), None)


def render(environment: Mapping[str, str], bundle: str | None) -> str:
    """Render a pip.conf with the settings in the environment; `bundle`: path of the CA bundle."""
    lines = ["[global]", "disable-pip-version-check = true", "root-user-action = ignore"]
    lines += [
        f"{option.lower().replace('_', '-')} = {environment[f'PIP_{option}']}"
        for option in _OPTIONS
        if environment.get(f"PIP_{option}")
    ]
    if bundle:
        lines.append(f"cert = {bundle}")
    return "\n".join(lines) + "\n"


def machine_settings(text: str) -> dict[str, str]:
    """Convert the index settings of a pip.conf to environment variables."""
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    settings = parser["global"] if parser.has_section("global") else {}
    known = {option.lower().replace("_", "-"): f"PIP_{option}" for option in _OPTIONS}
    return {known[key]: value for key, value in settings.items() if key in known}


def mounts(folder: Path) -> list[tuple[Path, str]]:
    """Write the settings to a folder and return the mounts as (source, target)."""
    bundle = certificates(os.environ)
    config = folder / "pip.conf"
    settings: dict[str, str] = {}
    for file in (Path(name).expanduser() for name in _MACHINE_FILES):
        if file.is_file():
            settings |= machine_settings(file.read_text())
    config.write_text(render({**settings, **os.environ}, _CERTIFICATES if bundle else None))
    return [(config, _CONFIG), *([(bundle.resolve(), _CERTIFICATES)] if bundle else [])]
