"""The certificates in the Secrets of a cluster: kept while they are valid, else issued or copied. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pgoperator import naming, pki, pki_check
from pgoperator.errors import InvalidSpec
from reconcilers.pgcluster.credentials.build_passwords import Data, DesiredData
from reconcilers.pgcluster.credentials.decide_lifetimes import CertificateLifetimes
from reconcilers.pgcluster.credentials.read_user_secrets import INVALID, MISSING, TLS_FILES, LoadedSecret
from reconcilers.pgcluster.state.findings import Problem

AUTHORITY = "postgres-operator-ca"
# Names of the certificates in the operator's Secrets, without `.crt`.
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
class Use:
    """What a certificate may be used for.

    Patroni accepts changes from every client certificate of the cluster's CA. So a server's certificate must
    not be one: the pooler's key, or a Secret that applications read for `ca.crt`, would open the databases.
    """

    client: bool
    server: bool


SERVER, CLIENT = Use(client=False, server=True), Use(client=True, server=False)
MEMBER = Use(client=True, server=True)


@dataclass(frozen=True, slots=True)
class Names:
    """The names that certificates are issued for: a cluster's name, namespace and DNS domain."""

    cluster: str
    namespace: str
    domain: str

    def services(self, *services: str) -> list[str]:
        """The four forms of the DNS names of Services, the fully qualified one first."""
        ends = (f".{self.namespace}.svc.{self.domain}", f".{self.namespace}.svc", f".{self.namespace}", "")
        return [service + end for service in services for end in ends]

    def pod(self, stateful_set: str) -> list[str]:
        """Every form of the DNS name of a StatefulSet's pod."""
        return self.services(naming.pod_host(stateful_set, self.cluster))


@dataclass(frozen=True, slots=True)
class Issuer:
    """The CA that signs, the names and the time; without a CA, the user must provide every certificate."""

    ca: pki.Pair | None
    names: Names
    now: datetime
    lives: CertificateLifetimes = field(default_factory=CertificateLifetimes)

    def demand(self, secret: str, old: Data, *keys: str) -> None:
        """InvalidSpec if no CA exists and the Secret lacks keys that only the user may create."""
        absent = [key for key in keys if not old.get(key)]
        if self.ca is None and absent:
            missing = "lacks" if old else "does not exist or is empty: create it with the keys"
            raise InvalidSpec(
                f"spec.tls.certManagementPolicy is userProvidedOnly, but Secret {secret!r} {missing} "
                f"{', '.join(absent)}",
                reason=MISSING,
            )

    def pair(
        self, old: Data, keys: tuple[str, str], common_name: str, dns: list[str], use: Use, *, backup: bool
    ) -> pki.Pair:
        """The pair under these keys (certificate, private key): kept while it is valid, else issued.

        A pair of a former operator that may be used for more is issued again, under the same CA.
        """
        pair = pki.Pair(old.get(keys[0], b""), old.get(keys[1], b""))
        if self.ca is None:
            return pair
        life = self.lives.pgbackrest if backup else self.lives.leaf
        want: Any = {"common_name": common_name, "dns_names": dns, "now": self.now, **asdict(use)}
        if pki.reissue_reason(pair, self.ca.cert, life=life, **want) is None:
            return pair
        return pki.issue(self.ca, life=life or pki.LEAF_VALIDITY, **want)

    def roots(self, old: Data, key: str) -> bytes:
        """The CA certificates to trust; without a CA, those that the user has put under `key`."""
        return old[key] if self.ca is None else self.ca.cert


def flaws(secrets: Mapping[str, Data], now: datetime) -> tuple[Problem, ...]:
    """Flaws of certificates in Secrets that the user created; the certificates are used regardless."""
    result = []
    for secret, data in sorted(secrets.items()):
        for file in (file for file in _FILES if f"{file}.crt" in data):
            cert, key = data[f"{file}.crt"], data.get(f"{file}.key", b"")
            if flaw := pki_check.leaf_problem(cert, key, now, file=file):
                result.append(Problem(INVALID, f"Secret {secret!r}: {flaw}"))
    return tuple(result)


def certificate_authority(
    old: Data, cluster: str, now: datetime, life: timedelta | None = None
) -> dict[str, bytes]:
    """The cluster's own CA: created once, renewed, never replaced.

    InvalidSpec when the Secret exists but cannot sign.
    """
    life = life or pki.CA_VALIDITY
    if not old:
        pair = pki.new_ca(AUTHORITY, now, life=life)
        return {"root.crt": pair.cert, "root.key": pair.key}
    missing = [key for key in ("root.crt", "root.key") if not old.get(key)]
    if missing:
        raise InvalidSpec(
            f"Secret {naming.cluster_ca(cluster)!r} lacks {' and '.join(missing)}: restore the keys "
            "from a backup; deleting the Secret creates a CA that no present client trusts",
            reason="SecretInvalid",
        )
    pair = pki.Pair(old["root.crt"], old["root.key"])
    if flaw := pki.ca_problem(pair):
        raise InvalidSpec(f"Secret {naming.cluster_ca(cluster)!r}: {flaw}", reason="SecretInvalid")
    return dict(old) | {"root.crt": pki.renewed_ca(pair, AUTHORITY, now, life=life).cert}


def server_certificate(
    issuer: Issuer, provided: LoadedSecret | None = None, roots: bytes | None = None
) -> DesiredData:
    """PostgreSQL's server certificate, for the Services under which clients reach it.

    `provided` is the certificate of the user, `roots` are the CAs to trust; None keeps the present ones.
    """
    names = issuer.names
    dns = names.services(naming.primary(names.cluster), naming.replicas(names.cluster))
    dns += names.services(naming.patroni_scope(names.cluster))
    dns.append(f"*.{naming.pods(names.cluster)}.{names.namespace}.svc.{names.domain}")
    dns.append(f"*.{naming.pods(names.cluster)}.{names.namespace}.svc")
    return _tls_secret(
        issuer, naming.cluster_certificate(names.cluster), dns, SERVER, provided=provided, roots=roots
    )


def replication_certificate(
    issuer: Issuer, provided: LoadedSecret | None = None, roots: bytes | None = None
) -> DesiredData:
    """The client certificate with which replicas log in at their primary."""
    name = naming.REPLICATION_USER
    secret = naming.replication_certificate(issuer.names.cluster)
    return _tls_secret(issuer, secret, [name], CLIENT, provided=provided, roots=roots)


def _tls_secret(
    issuer: Issuer,
    secret: str,
    dns: list[str],
    use: Use,
    *,
    provided: LoadedSecret | None,
    roots: bytes | None,
) -> DesiredData:
    """A certificate with its key, and the CAs to trust."""

    def desired(old: Data) -> dict[str, bytes]:
        if provided is None:
            issuer.demand(secret, old, *TLS_FILES)
            pair = issuer.pair(old, TLS_FILES[:2], dns[0], dns, use, backup=False)
            trusted = roots or old.get("ca.crt") or issuer.roots(old, "ca.crt")
            return dict(old) | {"tls.crt": pair.cert, "tls.key": pair.key, "ca.crt": trusted}
        if provided.problem is None:
            pair = pki.Pair(provided.data["tls.crt"], provided.data["tls.key"])
            trusted = roots or provided.data.get("ca.crt") or old["ca.crt"]
            return dict(old) | {"tls.crt": pair.cert, "tls.key": pair.key, "ca.crt": trusted}
        if all(old.get(key) for key in TLS_FILES):
            return dict(old)
        raise InvalidSpec(provided.problem.message, reason=provided.problem.reason)

    return desired


def instance_certificates(issuer: Issuer, instance: str, *, backups: bool = True) -> DesiredData:
    """Certificates of one instance: for Patroni's REST API and for the pgBackRest server."""
    dns, secret = issuer.names.pod(instance), naming.instance_certificates(instance)
    server_keys = ("pgbackrest-server.crt", "pgbackrest-server.key")

    def desired(old: Data) -> dict[str, bytes]:
        issuer.demand(
            secret, old, "dns.crt", "dns.key", "patroni.ca-roots", *(server_keys if backups else ())
        )
        rest = issuer.pair(old, ("dns.crt", "dns.key"), dns[0], dns, MEMBER, backup=False)
        result = dict(old) | {
            "dns.crt": rest.cert,
            "dns.key": rest.key,
            "patroni.ca-roots": issuer.roots(old, "patroni.ca-roots"),
            "patroni.crt-combined": rest.key + rest.cert,
        }
        if backups or issuer.ca is not None:
            server = issuer.pair(old, server_keys, dns[0], dns, SERVER, backup=True)
            result |= {"pgbackrest-server.crt": server.cert, "pgbackrest-server.key": server.key}
        return result

    return desired


def pgbackrest_client(uid: str) -> str:
    """The common name by which the pgBackRest servers of a cluster identify their client."""
    return f"pgbackrest@{uid}"


def pgbackrest_certificates(issuer: Issuer, uid: str) -> DesiredData:
    """Client certificate of pgBackRest, and server certificate of the repository host.

    `uid` is that of the PerconaPGCluster.
    """
    cluster = issuer.names.cluster
    secret, dns = naming.pgbackrest(cluster), issuer.names.pod(naming.repo_host(cluster))
    client_keys = ("pgbackrest-client.crt", "pgbackrest-client.key")
    server_keys = ("pgbackrest-repo-host.crt", "pgbackrest-repo-host.key")

    def desired(old: Data) -> dict[str, bytes]:
        issuer.demand(secret, old, "pgbackrest.ca-roots", *client_keys, *server_keys)
        client = issuer.pair(old, client_keys, pgbackrest_client(uid), [], CLIENT, backup=True)
        server = issuer.pair(old, server_keys, dns[0], dns, SERVER, backup=True)
        return dict(old) | {
            "pgbackrest.ca-roots": issuer.roots(old, "pgbackrest.ca-roots"),
            "pgbackrest-client.crt": client.cert,
            "pgbackrest-client.key": client.key,
            "pgbackrest-repo-host.crt": server.cert,
            "pgbackrest-repo-host.key": server.key,
        }

    return desired


def pooler_certificate(
    issuer: Issuer, provided: LoadedSecret | None = None, trusted: tuple[LoadedSecret, ...] = ()
) -> DesiredData:
    """The certificate that pgBouncer presents, and the CAs whose client certificates it accepts.

    Both are absent while the user's certificate is invalid and no valid one was there before: the pooler is
    not created yet.
    """
    secret = naming.pgbouncer(issuer.names.cluster)
    dns = issuer.names.services(secret)
    cert, key, roots = _FRONT

    def desired(old: Data) -> dict[str, bytes]:
        if provided is None:
            issuer.demand(secret, old, *_FRONT)
            pair = issuer.pair(old, (cert, key), dns[0], dns, SERVER, backup=False)
            root = issuer.roots(old, roots)
        elif provided.problem is None:
            pair = pki.Pair(provided.data["tls.crt"], provided.data["tls.key"])
            root = provided.data["ca.crt"]
        else:
            return dict(old)
        if any(authority.problem for authority in trusted) and old.get(roots):
            root = old[roots]
        else:
            valid = [authority.data["ca.crt"] for authority in trusted if authority.problem is None]
            root = pki_check.merge(root, *valid)
        return dict(old) | {cert: pair.cert, key: pair.key, roots: root}

    return desired
