"""What a cluster uses of Secrets without its label, which the operator does not write. Pure.

Only two kinds of Secrets can be somebody else's: those that `spec.users[].secretName` names, and two whose
names an application called like the cluster may have. The names of all others can only mean this cluster.
"""

import hashlib
from functools import partial

from pgoperator import labels, naming
from pgoperator.api.cluster import PGCluster
from pgoperator.api.users import User
from pgoperator.errors import InvalidSpec
from pgoperator.postgres import scram
from reconcilers.pgcluster.credentials.build_passwords import Data, DesiredData, text_of
from reconcilers.pgcluster.database import decide_users


def of(cluster: PGCluster) -> dict[str, DesiredData]:
    """Name of a Secret that may be somebody else's -> what the cluster uses of it."""
    name = cluster.metadata.name
    result: dict[str, DesiredData] = {
        user.secret_name: partial(_credentials, cluster, user, user.secret_name)
        for user in decide_users.effective(cluster)
        if user.secret_name and user.secret_name != naming.user_secret(name, user.name)
    }
    if cluster.spec.tls.cert_management_policy != "userProvidedOnly":
        own = naming.pgbackrest(name), naming.pgbouncer(name)
        result |= {secret: partial(_nothing, name, secret) for secret in own}
    return result


def _credentials(cluster: PGCluster, user: User, secret: str, old: Data) -> dict[str, bytes]:
    """A database user's password and its verifier; InvalidSpec without a password."""
    name, password = cluster.metadata.name, text_of(old, "password", secret)
    if not password:
        raise InvalidSpec(
            f"Secret {secret!r} lacks the label {labels.CLUSTER}={name}, so the operator does not change it, "
            f"and it has no key 'password': add the key, or annotate the Secret with "
            f"{labels.ALLOW_ADOPTION_BY}={name}",
            reason="SecretInvalid",
        )
    verifier = old.get("verifier", b"")
    if not scram.matches(verifier.decode(errors="replace"), password):
        # The same in every pass, as it cannot be stored. A salt must be unique, but need not be secret.
        salt = hashlib.sha256(f"{cluster.metadata.uid}/{user.name}".encode()).digest()[:16]
        verifier = scram.verifier(password, salt).encode()
    return {"user": user.name.encode(), "password": password.encode(), "verifier": verifier}


def _nothing(cluster: str, secret: str, _old: Data) -> dict[str, bytes]:
    raise InvalidSpec(
        f"Secret {secret!r} exists and lacks the label {labels.CLUSTER}={cluster}, so the operator does not "
        f"change it: rename the cluster, or annotate the Secret with {labels.ALLOW_ADOPTION_BY}={cluster}",
        reason="NameTaken",
    )
