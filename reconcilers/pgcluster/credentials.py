"""Passwords: what the Secrets of users and of the pooler shall hold, given what they hold already.

Here randomness enters. What is there and sound is kept, byte for byte; what is missing is made anew. A Secret
that the watches do not show is read from the API server before anything is made, and written with `create` or
with a precondition: a stale view must never replace a password.
"""

import base64
import secrets as random
from collections.abc import Callable, Mapping
from urllib.parse import quote

from pgoperator import labels, naming
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


def pooler_accounts(cluster: str, extra: Mapping[str, str] | None = None, *, keep: bool = False) -> Wanted:
    """Account of pgBouncer itself, its administrator and the list of both, with the author's accounts.

    `keep`: the author's accounts are not known now; those that are listed stay.
    """

    def wanted(old: Data) -> dict[str, bytes]:
        name = naming.pgbouncer(cluster)
        password = _text(old, "pgbouncer-password", name) or _password("ASCII", POOLER_PASSWORD_LENGTH)
        admin = _text(old, "pgbouncer-admin-password", name) or _password("ASCII", POOLER_PASSWORD_LENGTH)
        users = pgbouncer.users_txt(
            {naming.POOLER_USER: password, naming.POOLER_ADMIN: admin}, extra
        ).encode()
        listed = old.get("pgbouncer-users.txt", b"")
        return dict(old) | {
            "pgbouncer-password": password.encode(),
            "pgbouncer-verifier": _verifier(old.get("pgbouncer-verifier", b""), password),
            "pgbouncer-admin-password": admin.encode(),
            "pgbouncer-users.txt": listed if keep and listed.startswith(users) else users,
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

    `metadata` has name, namespace and labels, and annotations for a Secret that is made here. An unchanged
    Secret costs no request.
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
