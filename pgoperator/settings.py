"""Settings of the operator's process, read once from environment variables.

Variables keep the names and meanings of Percona Operator v2 (PGO_…, WATCH_NAMESPACE, RELATED_IMAGE_…). Empty
means unset, as charts render it. DISABLE_TELEMETRY, PERCONA_VS_FALLBACK_URI and PPROF_BIND_ADDRESS are
accepted and have no meaning here: there is no telemetry to disable, and no Go profile to serve.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pgoperator.errors import OperatorError

T = TypeVar("T")

SERVICE_ACCOUNT_DIR = "/var/run/secrets/kubernetes.io/serviceaccount"
# The name that Percona's operator uses: while both operators are installed, only one of them acts.
LEASE_NAME = "08db3feb.percona.com"
INSTANCE_SIDECARS, PGBACKREST_SIDECARS = "InstanceSidecars", "PGBackrestSidecars"
PGBOUNCER_SIDECARS, PRIVILEGED_PODS = "PGBouncerSidecars", "PrivilegedPods"
EFFECTIVE = (INSTANCE_SIDECARS, PGBACKREST_SIDECARS, PGBOUNCER_SIDECARS, PRIVILEGED_PODS)
"""Gates that the operator follows."""
FEATURES = {  # what the operator does; no gate changes it but those in EFFECTIVE
    "AppendCustomQueries": False,
    "AutoCreateUserSchema": True,
    "AutoGrowVolumes": False,
    "BackupSnapshots": False,
    "BridgeIdentifiers": False,
    INSTANCE_SIDECARS: True,
    PGBACKREST_SIDECARS: True,
    PGBOUNCER_SIDECARS: True,
    "PGUpgradeCPUConcurrency": False,
    PRIVILEGED_PODS: False,
    "TablespaceVolumes": True,
    "VolumeSnapshots": False,
}
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|h|m|s))+|\d+(?:\.\d+)?")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_IMAGE = re.compile(r"RELATED_IMAGE_([A-Z]+)(?:_(\d+))?")


class BadSetting(OperatorError):  # noqa: N818 - the name states the fact
    """An environment variable has an invalid value; the message names variable, value and expected form."""


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """Leader election; times in seconds, with duration > renew_deadline > retry_period."""

    enabled: bool = True
    name: str = LEASE_NAME
    duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the operator's process."""

    namespaces: tuple[str, ...] = ()  # watched; empty = all
    operator_namespace: str = "default"  # namespace of the Lease
    cluster_domain: str = "cluster.local"
    workers: int = 32
    log_level: str = "INFO"
    structured: bool = True  # JSON lines; False = text for a terminal
    lease: LeaseSettings = field(default_factory=LeaseSettings)
    metrics_port: int = 8080  # 0 = any free port
    metrics_cert_dir: str = ""  # tls.crt and tls.key: metrics over TLS, for authorized clients
    health_port: int = 8081
    service_account_dir: str = SERVICE_ACCOUNT_DIR
    images: Mapping[tuple[str, int], str] = field(default_factory=dict)  # (component, major or 0) -> image
    features: Mapping[str, bool] = field(default_factory=lambda: dict(FEATURES))

    def unused_features(self) -> list[str]:
        """Name the gates that ask for something that the operator does not do."""
        return [
            name for name, on in self.features.items() if name not in EFFECTIVE and on is not FEATURES[name]
        ]

    def related_image(self, component: str, major: int | None = None) -> str | None:
        """Return the image for `component` ("postgres", "pgbouncer", "pgbackrest"), None without a setting.

        PostgreSQL images go by major version: related_image("postgres", 17) reads RELATED_IMAGE_POSTGRES_17.
        """
        return self.images.get((component.lower(), major or 0))

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings; BadSetting for the first invalid variable."""
        read = _Reader(environ)
        account = environ.get("PGO_SERVICE_ACCOUNT_DIR") or SERVICE_ACCOUNT_DIR
        return cls(
            namespaces=read.first(
                ("WATCH_NAMESPACE", "PGO_TARGET_NAMESPACES", "PGO_TARGET_NAMESPACE"), _namespaces, ()
            ),
            operator_namespace=read.first(
                ("OPERATOR_NAMESPACE", "PGO_NAMESPACE"), _name, _own_namespace(account)
            ),
            cluster_domain=read.one("PGO_CLUSTER_DOMAIN", _subdomain, "cluster.local"),
            workers=read.one("PGO_WORKERS", _positive, 32),
            log_level=read.one("LOG_LEVEL", _level, "INFO"),
            structured=read.one("LOG_STRUCTURED", _boolean, default=True),
            lease=_lease(read),
            metrics_port=read.one("PGO_METRICS_PORT", _port, 8080),
            metrics_cert_dir=environ.get("PGO_METRICS_CERT_DIR", "").strip(),
            health_port=read.one("PGO_HEALTH_PORT", _port, 8081),
            service_account_dir=account,
            images=_images(environ),
            features=read.one("PGO_FEATURE_GATES", _features, dict(FEATURES)),
        )


class _Reader:
    """Reads variables with a parser for each; the parser raises ValueError with the expected form."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def one(self, name: str, parse: Callable[[str], T], default: T) -> T:
        """Return the parsed variable, `default` when it is unset or empty."""
        text = self._environ.get(name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            raise BadSetting(f"{name}={text!r}: {error}") from None

    def first(self, names: tuple[str, ...], parse: Callable[[str], T], default: T) -> T:
        """Return the first of several variables that is set."""
        found = next((name for name in names if self._environ.get(name, "").strip()), names[0])
        return self.one(found, parse, default)


def _lease(read: _Reader) -> LeaseSettings:
    prefix = "PGO_CONTROLLER_"
    base = LeaseSettings()
    lease = LeaseSettings(
        enabled=read.one(prefix + "LEADER_ELECTION_ENABLED", _boolean, base.enabled),
        name=read.one(prefix + "LEASE_NAME", _subdomain, base.name),
        duration=read.one(prefix + "LEASE_DURATION", _duration, base.duration),
        renew_deadline=read.one(prefix + "RENEW_DEADLINE", _duration, base.renew_deadline),
        retry_period=read.one(prefix + "RETRY_PERIOD", _duration, base.retry_period),
    )
    if not lease.duration > lease.renew_deadline > lease.retry_period > 0:
        raise BadSetting(
            f"{prefix}LEASE_DURATION={lease.duration:g}s must be longer than {prefix}RENEW_DEADLINE="
            f"{lease.renew_deadline:g}s, and that longer than {prefix}RETRY_PERIOD={lease.retry_period:g}s"
        )
    if lease.duration < 1:
        raise BadSetting(f"{prefix}LEASE_DURATION={lease.duration:g}s: expected at least 1s")
    return lease


def _images(environ: Mapping[str, str]) -> dict[tuple[str, int], str]:
    found = {}
    for variable, image in environ.items():
        match = _IMAGE.fullmatch(variable)
        if match and image.strip():
            if any(character.isspace() for character in image.strip()):
                raise BadSetting(f"{variable}={image!r}: expected one image reference without spaces")
            found[match[1].lower(), int(match[2] or 0)] = image.strip()
    return found


def _own_namespace(account: str) -> str:
    try:
        return Path(account, "namespace").read_text(encoding="utf-8").strip() or "default"
    except OSError:
        return "default"


def _boolean(text: str) -> bool:
    words = {
        "true": True,
        "1": True,
        "t": True,
        "yes": True,
        "false": False,
        "0": False,
        "f": False,
        "no": False,
    }
    if text.lower() not in words:
        raise ValueError("expected true or false")
    return words[text.lower()]


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:  # noqa: PLR2004
        raise ValueError("expected a whole number from 1 to 1000")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:  # noqa: PLR2004
        raise ValueError("expected a port from 0 to 65535")
    return int(text)


def _duration(text: str) -> float:
    """Seconds from "15s", "1m30s", "500ms" or a number of seconds, as Percona's operator accepts them."""
    if not _DURATION.fullmatch(text):
        raise ValueError('expected a duration like "15s" or "1m30s"')
    parts = _PART.findall(text)
    return sum(float(number) * _SECONDS[unit] for number, unit in parts) if parts else float(text)


def _level(text: str) -> str:
    level = {"WARN": "WARNING", "TRACE": "DEBUG", "FATAL": "ERROR"}.get(text.upper(), text.upper())
    if level not in LEVELS:
        raise ValueError(f"expected one of {', '.join(LEVELS)}")
    return level


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("expected the name of a namespace")
    return text


def _subdomain(text: str) -> str:
    if not _SUBDOMAIN.fullmatch(text):
        raise ValueError("expected lower-case letters, digits, '-' and '.'")
    return text


def _namespaces(text: str) -> tuple[str, ...]:
    """Names without repetition, in order; "a, b" and a trailing comma are fine."""
    return tuple(dict.fromkeys(_name(part.strip()) for part in text.split(",") if part.strip()))


def _features(text: str) -> dict[str, bool]:
    features = dict(FEATURES)
    for part in filter(None, (item.strip() for item in text.split(","))):
        name, equals, value = part.partition("=")
        if name not in features or not equals:
            raise ValueError(f"{part!r} is not Feature=true|false with one of {', '.join(FEATURES)}")
        features[name] = _boolean(value)
    return features
