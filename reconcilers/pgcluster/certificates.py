"""The certificates in the Secrets of a cluster: kept while they are sound, issued or copied when not."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pgoperator import naming, pki, pki_check
from pgoperator.api.security import TLS
from pgoperator.errors import InvalidSpec
from reconcilers.pgcluster.brought import INVALID, MISSING, TLS_FILES, Files
from reconcilers.pgcluster.credentials import Data, Wanted
from reconcilers.pgcluster.problems import Problem

AUTHORITY = "postgres-operator-ca"
SHORTEST_LIFE = timedelta(hours=1)
"""Certificates are looked at every ten minutes, and renewed when a third of their life is left."""

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
# How certificates are called in our Secrets, without `.crt`.
_FILES = (
    "tls",
    "dns",
    "pgbackrest-server",
    "pgbackrest-client",
    "pgbackrest-repo-host",
    "pgbouncer-frontend",
)
_FRONT = ("pgbouncer-frontend.crt", "pgbouncer-frontend.key", "pgbouncer-frontend.ca-roots")


@dataclass(frozen=True, slots=True)
class Names:
    """What certificates are issued for: a cluster's name, namespace and DNS domain."""

    cluster: str
    namespace: str
    domain: str

    def services(self, *services: str) -> list[str]:
        """Every form of some Services' names."""
        return [name for s in services for name in naming.service_names(s, self.namespace, self.domain)]

    def pod(self, stateful_set: str) -> list[str]:
        """Every form of a StatefulSet's pod's name."""
        return naming.service_names(naming.pod_host(stateful_set, self.cluster), self.namespace, self.domain)


def duration(text: str | None, path: str) -> timedelta | None:
    """Read a duration as Go writes it, such as 2160h or 1h30m."""
    if not text:
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise InvalidSpec(f"{path}: {text!r} is not a duration such as 2160h", reason="InvalidDuration")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    try:
        found = timedelta(seconds=int(seconds))
    except OverflowError:
        found = timedelta.max
    if not SHORTEST_LIFE <= found <= timedelta(days=36500):
        raise InvalidSpec(
            f"{path}: {text!r} must be at least 1h and at most 100 years", reason="InvalidDuration"
        )
    return found


@dataclass(frozen=True, slots=True)
class Lives:
    """How long certificates shall hold; None leaves those that are there as they are."""

    authority: timedelta | None = None
    leaf: timedelta | None = None
    pgbackrest: timedelta | None = None

    @classmethod
    def of(cls, tls: TLS) -> "Lives":
        """Read `spec.tls`."""
        leaf = duration(tls.cert_validity_duration, "spec.tls.certValidityDuration")
        path = "spec.tls.pgBackRestCertValidityDuration"
        return cls(
            authority=duration(tls.ca_validity_duration, "spec.tls.caValidityDuration"),
            leaf=leaf,
            pgbackrest=duration(tls.pgbackrest_cert_validity_duration, path) or leaf,
        )


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs, for which names, and when; without an authority everything must be there already."""

    ca: pki.Pair | None
    names: Names
    now: datetime
    lives: Lives = Lives()

    def demand(self, secret: str, old: Data, *keys: str) -> None:
        """Refuse to go on without what nobody but the author may make."""
        absent = [key for key in keys if not old.get(key)]
        if self.ca is None and absent:
            what = f"lacks {', '.join(absent)}" if old else f"is missing: it must hold {', '.join(absent)}"
            raise InvalidSpec(
                f"spec.tls.certManagementPolicy is userProvidedOnly, and the Secret {secret!r} {what}",
                reason=MISSING,
            )

    def pair(
        self, old: Data, keys: tuple[str, str], common_name: str, dns: list[str], *, backup: bool
    ) -> pki.Pair:
        """The pair under these keys (certificate, key), kept while it is sound."""
        pair = pki.Pair(old.get(keys[0], b""), old.get(keys[1], b""))
        if self.ca is None:
            return pair
        life = self.lives.pgbackrest if backup else self.lives.leaf
        flaw = pki.flaw(pair, self.ca.cert, common_name=common_name, dns_names=dns, now=self.now, life=life)
        if flaw is None:
            return pair
        return pki.issue(
            self.ca, common_name=common_name, dns_names=dns, now=self.now, life=life or pki.LEAF_LIFE
        )

    def roots(self, old: Data, key: str) -> bytes:
        """What others shall trust."""
        return old[key] if self.ca is None else self.ca.cert


def flaws(found: Mapping[str, Data], now: datetime) -> tuple[Problem, ...]:
    """What is wrong with certificates that the author made in place of ours; they are served as they are."""
    result = []
    for secret, data in sorted(found.items()):
        for file in (file for file in _FILES if f"{file}.crt" in data):
            cert, key = data[f"{file}.crt"], data.get(f"{file}.key", b"")
            if flaw := pki_check.flaw_of_leaf(cert, key, now, file=file):
                result.append(Problem(INVALID, f"Secret {secret!r}: {flaw}"))
    return tuple(result)


def certificate_authority(
    old: Data, cluster: str, now: datetime, life: timedelta | None = None
) -> dict[str, bytes]:
    """The cluster's own authority; one that cannot sign is reported, never replaced."""
    life = life or pki.CA_LIFE
    if not old:
        pair = pki.new_ca(AUTHORITY, now, life=life)
        return {"root.crt": pair.cert, "root.key": pair.key}
    missing = [key for key in ("root.crt", "root.key") if not old.get(key)]
    if missing:
        raise InvalidSpec(
            f"Secret {naming.cluster_ca(cluster)!r} lacks {' and '.join(missing)}: restore the keys, or "
            "delete the Secret to have a new certificate authority made",
            reason="SecretInvalid",
        )
    pair = pki.Pair(old["root.crt"], old["root.key"])
    if flaw := pki.ca_flaw(pair):
        raise InvalidSpec(f"Secret {naming.cluster_ca(cluster)!r}: {flaw}", reason="SecretInvalid")
    return dict(old) | {"root.crt": pki.renewed_ca(pair, AUTHORITY, now, life=life).cert}


def server_certificate(issuer: Issuer, files: Files | None = None, roots: bytes | None = None) -> Wanted:
    """PostgreSQL's server certificate, for the Services under which clients reach it."""
    names = issuer.names
    dns = names.services(naming.primary(names.cluster), naming.replicas(names.cluster))
    dns += names.services(naming.patroni_scope(names.cluster))
    dns.append(f"*.{naming.pods(names.cluster)}.{names.namespace}.svc.{names.domain}")
    dns.append(f"*.{naming.pods(names.cluster)}.{names.namespace}.svc")
    return _tls_secret(issuer, naming.cluster_certificate(names.cluster), dns, files, roots)


def replication_certificate(issuer: Issuer, files: Files | None = None, roots: bytes | None = None) -> Wanted:
    """The client certificate with which replicas log in at their primary."""
    name = naming.REPLICATION_USER
    secret = naming.replication_certificate(issuer.names.cluster)
    return _tls_secret(issuer, secret, [name], files, roots)


def _tls_secret(
    issuer: Issuer, secret: str, dns: list[str], files: Files | None, roots: bytes | None
) -> Wanted:
    """A pair and whom it trusts. `files`: the author's. `roots`: None keeps what is there."""

    def wanted(old: Data) -> dict[str, bytes]:
        if files is None:
            issuer.demand(secret, old, *TLS_FILES)
            pair = issuer.pair(old, TLS_FILES[:2], dns[0], dns, backup=False)
            trusted = roots or old.get("ca.crt") or issuer.roots(old, "ca.crt")
            return dict(old) | {"tls.crt": pair.cert, "tls.key": pair.key, "ca.crt": trusted}
        if files.problem is None:
            pair = pki.Pair(files.data["tls.crt"], files.data["tls.key"])
            trusted = roots or files.data.get("ca.crt") or old["ca.crt"]
            return dict(old) | {"tls.crt": pair.cert, "tls.key": pair.key, "ca.crt": trusted}
        if all(old.get(key) for key in TLS_FILES):
            return dict(old)
        raise InvalidSpec(files.problem.message, reason=files.problem.reason)

    return wanted


def instance_certificates(issuer: Issuer, instance: str, *, backups: bool = True) -> Wanted:
    """Certificates of one instance: Patroni's REST endpoint and the pgBackRest server."""
    dns, secret = issuer.names.pod(instance), naming.instance_certificates(instance)
    server_keys = ("pgbackrest-server.crt", "pgbackrest-server.key")

    def wanted(old: Data) -> dict[str, bytes]:
        issuer.demand(
            secret, old, "dns.crt", "dns.key", "patroni.ca-roots", *(server_keys if backups else ())
        )
        rest = issuer.pair(old, ("dns.crt", "dns.key"), dns[0], dns, backup=False)
        result = dict(old) | {
            "dns.crt": rest.cert,
            "dns.key": rest.key,
            "patroni.ca-roots": issuer.roots(old, "patroni.ca-roots"),
            "patroni.crt-combined": rest.key + rest.cert,
        }
        if backups or issuer.ca is not None:
            server = issuer.pair(old, server_keys, dns[0], dns, backup=True)
            result |= {"pgbackrest-server.crt": server.cert, "pgbackrest-server.key": server.key}
        return result

    return wanted


def pgbackrest_client(uid: str) -> str:
    """The name by which pgBackRest servers of a cluster know their client."""
    return f"pgbackrest@{uid}"


def pgbackrest_certificates(issuer: Issuer, uid: str) -> Wanted:
    """Client certificate of pgBackRest and the server certificate of the repository host."""
    cluster = issuer.names.cluster
    secret, dns = naming.pgbackrest(cluster), issuer.names.pod(naming.repo_host(cluster))
    client_keys = ("pgbackrest-client.crt", "pgbackrest-client.key")
    server_keys = ("pgbackrest-repo-host.crt", "pgbackrest-repo-host.key")

    def wanted(old: Data) -> dict[str, bytes]:
        issuer.demand(secret, old, "pgbackrest.ca-roots", *client_keys, *server_keys)
        client = issuer.pair(old, client_keys, pgbackrest_client(uid), [], backup=True)
        server = issuer.pair(old, server_keys, dns[0], dns, backup=True)
        return dict(old) | {
            "pgbackrest.ca-roots": issuer.roots(old, "pgbackrest.ca-roots"),
            "pgbackrest-client.crt": client.cert,
            "pgbackrest-client.key": client.key,
            "pgbackrest-repo-host.crt": server.cert,
            "pgbackrest-repo-host.key": server.key,
        }

    return wanted


def pooler_certificate(issuer: Issuer, files: Files | None = None, trusted: tuple[Files, ...] = ()) -> Wanted:
    """The certificate that pgBouncer shows, and the authorities from which it takes client certificates.

    Absent when the author's is of no use and there has been no other: then there is no pooler yet.
    """
    secret, dns = (
        naming.pgbouncer(issuer.names.cluster),
        issuer.names.services(naming.pgbouncer(issuer.names.cluster)),
    )
    cert, key, roots = _FRONT

    def wanted(old: Data) -> dict[str, bytes]:
        if files is None:
            issuer.demand(secret, old, *_FRONT)
            pair = issuer.pair(old, (cert, key), dns[0], dns, backup=False)
            root = issuer.roots(old, roots)
        elif files.problem is None:
            pair, root = pki.Pair(files.data["tls.crt"], files.data["tls.key"]), files.data["ca.crt"]
        else:
            return dict(old)
        if any(one.problem for one in trusted) and old.get(roots):
            root = old[roots]
        else:
            root = pki_check.joined(root, *(one.data["ca.crt"] for one in trusted if one.problem is None))
        return dict(old) | {cert: pair.cert, key: pair.key, roots: root}

    return wanted
