"""Certificates and passwords: what each Secret of a cluster shall hold, given what it holds already.

Here randomness and time enter. What is there and sound is kept, byte for byte; what is missing or has to be
renewed is made anew. A Secret that the watches do not show is read from the API server before anything is
made, and written with `create` or with a precondition: a stale view must never replace a password.
"""

import base64
import secrets as random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from pgoperator import labels, naming, pki
from pgoperator.api.cluster import PGCluster
from pgoperator.api.users import User
from pgoperator.context import Context
from pgoperator.errors import InvalidSpec
from pgoperator.kube import kinds
from pgoperator.kube.errors import NotFound
from pgoperator.kube.manifest import Manifest, labels_of
from pgoperator.postgres import passwords, pgbouncer, scram

Data = Mapping[str, bytes]
Wanted = Callable[[Data], dict[str, bytes]]

USER_PASSWORD_LENGTH = 24
POOLER_PASSWORD_LENGTH = 32

# Keys of a user's Secret that are there only if the user has a database, or the cluster a pooler.
ADDRESSES = frozenset(
    f"{prefix}{key}" for prefix in ("", "pgbouncer-") for key in ("host", "port", "uri", "jdbc-uri")
) | {"dbname"}


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


def certificate_authority(old: Data, cluster: str, now: datetime) -> dict[str, bytes]:
    """The cluster's own authority; one that cannot sign is reported, never replaced."""
    if not old:
        pair = pki.new_ca("postgres-operator-ca", now)
        return {"root.crt": pair.cert, "root.key": pair.key}
    missing = [key for key in ("root.crt", "root.key") if not old.get(key)]
    if missing:
        raise InvalidSpec(
            f"Secret {naming.cluster_ca(cluster)!r} lacks {' and '.join(missing)}: restore the keys, or "
            "delete the Secret to have a new certificate authority made",
            reason="SecretInvalid",
        )
    if flaw := pki.ca_flaw(pki.Pair(old["root.crt"], old["root.key"])):
        raise InvalidSpec(f"Secret {naming.cluster_ca(cluster)!r}: {flaw}", reason="SecretInvalid")
    return dict(old)


def _pair(
    ca: pki.Pair, old: Data, keys: tuple[str, str], *, common_name: str, dns: list[str], now: datetime
) -> pki.Pair:
    """The pair under these keys (certificate, key), kept while it is sound."""
    pair = pki.Pair(old.get(keys[0], b""), old.get(keys[1], b""))
    if pki.flaw(pair, ca.cert, common_name=common_name, dns_names=dns, now=now) is None:
        return pair
    return pki.issue(ca, common_name=common_name, dns_names=dns, now=now)


def server_certificate(ca: pki.Pair, names: Names, now: datetime) -> Wanted:
    """PostgreSQL's server certificate, for the Services under which clients reach it."""
    dns = names.services(naming.primary(names.cluster), naming.replicas(names.cluster))
    dns += names.services(naming.patroni_scope(names.cluster))
    dns.append(f"*.{naming.pods(names.cluster)}.{names.namespace}.svc.{names.domain}")
    dns.append(f"*.{naming.pods(names.cluster)}.{names.namespace}.svc")
    return _tls_secret(ca, dns[0], dns, now)


def replication_certificate(ca: pki.Pair, now: datetime) -> Wanted:
    """The client certificate with which replicas log in at their primary."""
    return _tls_secret(ca, naming.REPLICATION_USER, [naming.REPLICATION_USER], now)


def _tls_secret(ca: pki.Pair, common_name: str, dns: list[str], now: datetime) -> Wanted:
    def wanted(old: Data) -> dict[str, bytes]:
        pair = _pair(ca, old, ("tls.crt", "tls.key"), common_name=common_name, dns=dns, now=now)
        return dict(old) | {"tls.crt": pair.cert, "tls.key": pair.key, "ca.crt": ca.cert}

    return wanted


def instance_certificates(ca: pki.Pair, names: Names, instance: str, now: datetime) -> Wanted:
    """Certificates of one instance: Patroni's REST endpoint and the pgBackRest server."""
    dns = names.pod(instance)

    def wanted(old: Data) -> dict[str, bytes]:
        rest = _pair(ca, old, ("dns.crt", "dns.key"), common_name=dns[0], dns=dns, now=now)
        keys = ("pgbackrest-server.crt", "pgbackrest-server.key")
        server = _pair(ca, old, keys, common_name=dns[0], dns=dns, now=now)
        return dict(old) | {
            "dns.crt": rest.cert,
            "dns.key": rest.key,
            "patroni.ca-roots": ca.cert,
            "patroni.crt-combined": rest.key + rest.cert,
            "pgbackrest-server.crt": server.cert,
            "pgbackrest-server.key": server.key,
        }

    return wanted


def pgbackrest_client(uid: str) -> str:
    """The name by which pgBackRest servers of a cluster know their client."""
    return f"pgbackrest@{uid}"


def pgbackrest_certificates(ca: pki.Pair, names: Names, uid: str, now: datetime) -> Wanted:
    """Client certificate of pgBackRest and the server certificate of the repository host."""
    client_name, dns = pgbackrest_client(uid), names.pod(naming.repo_host(names.cluster))

    def wanted(old: Data) -> dict[str, bytes]:
        client_keys = ("pgbackrest-client.crt", "pgbackrest-client.key")
        client = _pair(ca, old, client_keys, common_name=client_name, dns=[], now=now)
        server_keys = ("pgbackrest-repo-host.crt", "pgbackrest-repo-host.key")
        server = _pair(ca, old, server_keys, common_name=dns[0], dns=dns, now=now)
        return dict(old) | {
            "pgbackrest.ca-roots": ca.cert,
            "pgbackrest-client.crt": client.cert,
            "pgbackrest-client.key": client.key,
            "pgbackrest-repo-host.crt": server.cert,
            "pgbackrest-repo-host.key": server.key,
        }

    return wanted


def pooler_secret(ca: pki.Pair, names: Names, now: datetime) -> Wanted:
    """Account of pgBouncer itself, its administrator and the certificate it shows to clients."""
    dns = names.services(naming.pgbouncer(names.cluster))

    def wanted(old: Data) -> dict[str, bytes]:
        front = _pair(
            ca,
            old,
            ("pgbouncer-frontend.crt", "pgbouncer-frontend.key"),
            common_name=dns[0],
            dns=dns,
            now=now,
        )
        name = naming.pgbouncer(names.cluster)
        password = _text(old, "pgbouncer-password", name) or _password("ASCII", POOLER_PASSWORD_LENGTH)
        admin = _text(old, "pgbouncer-admin-password", name) or _password("ASCII", POOLER_PASSWORD_LENGTH)
        users = pgbouncer.users_txt({naming.POOLER_USER: password, naming.POOLER_ADMIN: admin})
        return dict(old) | {
            "pgbouncer-password": password.encode(),
            "pgbouncer-verifier": _verifier(old.get("pgbouncer-verifier", b""), password),
            "pgbouncer-admin-password": admin.encode(),
            "pgbouncer-users.txt": users.encode(),
            "pgbouncer-frontend.ca-roots": ca.cert,
            "pgbouncer-frontend.crt": front.cert,
            "pgbouncer-frontend.key": front.key,
        }

    return wanted


def user_secret(cluster: PGCluster, user: User) -> Wanted:
    """A user's credentials and the ready-made addresses under which applications connect."""
    kind = user.password.type if user.password else "ASCII"

    def wanted(old: Data) -> dict[str, bytes]:
        secret = user.secret_name or naming.user_secret(cluster.metadata.name, user.name)
        password = _text(old, "password", secret) or _password(kind, USER_PASSWORD_LENGTH)
        text = {"user": user.name, "password": password} | _addresses(cluster, user, password)
        verifier = {"verifier": _verifier(old.get("verifier", b""), password)}
        # Keys that somebody added beside ours stay; an address that no longer leads anywhere goes.
        kept = {key: value for key, value in old.items() if key not in ADDRESSES}
        return kept | {key: value.encode() for key, value in text.items()} | verifier

    return wanted


def _addresses(cluster: PGCluster, user: User, password: str) -> dict[str, str]:
    """Hosts, ports and URIs of a user's Secret; those of a database only if the user has one."""
    metadata, spec = cluster.metadata, cluster.spec
    host, port = f"{naming.primary(metadata.name)}.{metadata.namespace}.svc", str(spec.port)
    databases = user.databases or (["postgres"] if user.name == "postgres" else [])
    database = databases[0] if databases else ""
    result = {"host": host, "port": port}
    if database:
        result |= {"dbname": database, **_uris("", user.name, password, f"{host}:{port}", database)}
    if cluster.spec.pg_bouncer is not None:
        host, port = (
            f"{naming.pgbouncer(metadata.name)}.{metadata.namespace}.svc",
            str(cluster.spec.pg_bouncer.port),
        )
        result |= {"pgbouncer-host": host, "pgbouncer-port": port}
        if database:
            result |= _uris("pgbouncer-", user.name, password, f"{host}:{port}", database)
    return result


def _uris(prefix: str, user: str, password: str, address: str, database: str) -> dict[str, str]:
    name, secret, db = (quote(text, safe="") for text in (user, password, database))
    # pgBouncer shares server connections, so the driver must not count on prepared statements being there.
    prepare = "&prepareThreshold=0" if prefix else ""
    return {
        f"{prefix}uri": f"postgresql://{name}:{secret}@{address}/{db}",
        f"{prefix}jdbc-uri": f"jdbc:postgresql://{address}/{db}?password={secret}&user={name}{prepare}",
    }


def _text(old: Data, key: str, secret: str) -> str:
    """A password as text; what is none can neither be sent to PostgreSQL nor be replaced unasked."""
    try:
        return old.get(key, b"").decode()
    except UnicodeDecodeError as error:
        raise InvalidSpec(
            f"Secret {secret!r}: the value of {key!r} is not UTF-8; set another, or remove the key to have "
            "a password made",
            reason="SecretInvalid",
        ) from error


def _password(kind: str, length: int) -> str:
    return passwords.generate("AlphaNumeric" if kind == "AlphaNumeric" else "ASCII", length, random.choice)


def _verifier(old: bytes, password: str) -> bytes:
    """The verifier as it is while it fits the password; a password changed alone is enough to change it."""
    if scram.matches(old.decode(errors="replace"), password):
        return old
    return scram.verifier(password, random.token_bytes(16)).encode()


async def ensure(ctx: Context, metadata: Manifest, wanted: Wanted) -> Data:
    """Bring one Secret to what `wanted` says of its data and return it.

    `metadata` has name, namespace and labels. An unchanged Secret costs no request.
    """
    namespace, name = metadata["namespace"], metadata["name"]
    stored = ctx.store.get(kinds.SECRET, namespace, name)
    if stored is not None:
        data = decode(stored)
        if wanted(data) == data and metadata["labels"].items() <= labels_of(stored).items():
            return data
    try:
        live = await ctx.client.get(kinds.SECRET, namespace, name)
    except NotFound:
        data = wanted({})
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": _encode(data)}
        await ctx.client.create(secret)
        return data
    _refuse_foreign(metadata, live)
    old = decode(live)
    data = wanted(old)
    if data != old or not metadata["labels"].items() <= labels_of(live).items():
        version = {"resourceVersion": live["metadata"]["resourceVersion"], "labels": metadata["labels"]}
        gone = dict.fromkeys(old.keys() - data.keys())
        patch = {"metadata": version, "data": gone | _encode(data)}
        await ctx.client.merge_patch(kinds.SECRET, namespace, name, patch)
    return data


def _refuse_foreign(metadata: Manifest, live: Manifest) -> None:
    """A Secret of another cluster stays as it is: two clusters would write it in turns."""
    other = labels_of(live).get(labels.CLUSTER, "")
    if other and other != metadata["labels"][labels.CLUSTER]:
        raise InvalidSpec(
            f"Secret {metadata['name']!r} belongs to the cluster {other!r}", reason="SecretInvalid"
        )


def decode(secret: Manifest) -> dict[str, bytes]:
    """The data of a Secret as bytes."""
    return {key: base64.b64decode(value or "") for key, value in (secret.get("data") or {}).items()}


def _encode(data: Data) -> dict[str, str]:
    return {key: base64.b64encode(value).decode() for key, value in data.items()}
