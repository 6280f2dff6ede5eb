"""How pip inside a build reaches the package index: as pip does on this machine.

The settings are mounted read-only for the time of the build, so that neither a proxy's address nor a
certificate of this machine becomes part of an image.
"""

import configparser
import os
from collections.abc import Mapping
from pathlib import Path

_CONFIG = "/etc/pip.conf"
_MACHINE_FILES = (_CONFIG, "~/.pip/pip.conf", "~/.config/pip/pip.conf")  # a later one counts more
_CERTIFICATES = "/run/build-ca.crt"
_OPTIONS = ("INDEX_URL", "EXTRA_INDEX_URL", "PROXY", "TRUSTED_HOST", "DEFAULT_TIMEOUT", "RETRIES")
_BUNDLES = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pki/tls/certs/ca-bundle.crt"))


def certificates(environment: Mapping[str, str]) -> Path | None:
    """Return the CA bundle that this machine trusts, if it has one."""
    named = [environment.get(name) for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")]
    candidates = [Path(name) for name in named if name] + list(_BUNDLES)
    return next((path for path in candidates if path.is_file()), None)


def render(environment: Mapping[str, str], bundle: str | None) -> str:
    """Render the pip.conf with the settings that the environment gives."""
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
    """Return how the machine's pip.conf reaches the index, as environment variables would say it."""
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    settings = parser["global"] if parser.has_section("global") else {}
    known = {option.lower().replace("_", "-"): f"PIP_{option}" for option in _OPTIONS}
    return {known[key]: value for key, value in settings.items() if key in known}


def mounts(folder: Path) -> list[tuple[Path, str]]:
    """Write the settings into a folder and return what to mount where."""
    bundle = certificates(os.environ)
    config = folder / "pip.conf"
    settings: dict[str, str] = {}
    for file in (Path(name).expanduser() for name in _MACHINE_FILES):
        if file.is_file():
            settings |= machine_settings(file.read_text())
    config.write_text(render({**settings, **os.environ}, _CERTIFICATES if bundle else None))
    return [(config, _CONFIG), *([(bundle.resolve(), _CERTIFICATES)] if bundle else [])]
