"""Which users and databases a cluster has: the CR's list, or one of each named after the cluster."""

import re

from pgoperator import naming
from pgoperator.api.cluster import PGCluster
from pgoperator.api.users import NAME_LENGTH, RESERVED_USERS, USER_NAME, Password, User
from pgoperator.errors import InvalidSpec

# Logs in from its own pod only (`hba`). The password goes into a JSON document as it is.
MONITOR = User(name=naming.MONITOR_USER, password=Password(type="AlphaNumeric"))


def effective(cluster: PGCluster) -> tuple[User, ...]:
    """The users to have, and the operator's own; an empty list means none, an absent one the default user."""
    pmm = cluster.spec.pmm
    return _of_spec(cluster) + ((MONITOR,) if pmm is not None and pmm.enabled else ())


def _of_spec(cluster: PGCluster) -> tuple[User, ...]:
    if cluster.spec.users is not None:
        return tuple(user for user in cluster.spec.users if user.name not in RESERVED_USERS)
    name = cluster.metadata.name
    if len(name) > NAME_LENGTH or not re.fullmatch(USER_NAME, name):
        raise InvalidSpec(
            f"the cluster's name {name!r} cannot be the name of its default user: list users in spec.users",
            reason="InvalidUser",
        )
    return (User(name=name, databases=(name,)),)


def databases(users: tuple[User, ...]) -> list[str]:
    """Every database that some user wants, in a stable order."""
    return sorted({database for user in users if user.name != "postgres" for database in user.databases})
