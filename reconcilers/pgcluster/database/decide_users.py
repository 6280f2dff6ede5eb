"""The users and databases of a cluster: those of `spec.users`, or one of each with its name. Pure."""

import re

from pgoperator import naming
from pgoperator.api.cluster import PGCluster
from pgoperator.api.users import NAME_LENGTH, RESERVED_USERS, USER_NAME, Password, User
from pgoperator.errors import InvalidSpec

TEMPLATES = ("template0", "template1")
# May log in only from its own pod (`hba`). The password is used in a JSON document without quoting.
MONITOR = User(name=naming.MONITOR_USER, password=Password(type="AlphaNumeric"))


def effective(cluster: PGCluster) -> tuple[User, ...]:
    """The users of the spec, and the operator's own for PMM.

    An empty `spec.users` means no user; an absent list means the default user, named after the cluster.
    InvalidSpec when the cluster's name cannot be a user's name.
    """
    pmm = cluster.spec.pmm
    return _of_spec(cluster) + ((MONITOR,) if pmm is not None and pmm.enabled else ())


def _of_spec(cluster: PGCluster) -> tuple[User, ...]:
    if cluster.spec.users is not None:
        return tuple(_allowed(user) for user in cluster.spec.users if user.name not in RESERVED_USERS)
    name = cluster.metadata.name
    if len(name) > NAME_LENGTH or not re.fullmatch(USER_NAME, name):
        raise InvalidSpec(
            f"the cluster's name {name!r} is not valid for its default user: list users in spec.users",
            reason="InvalidUser",
        )
    return (User(name=name, databases=(name,)),)


def _allowed(user: User) -> User:
    """The user without templates: what is in a template, such as a schema, is in every later database."""
    return user.model_copy(update={"databases": tuple(d for d in user.databases if d not in TEMPLATES)})


def without_effect(cluster: PGCluster) -> list[str]:
    """Paths of users that are the operator's own, and of databases that are templates."""
    paths = []
    for i, user in enumerate(cluster.spec.users or ()):
        if user.name in RESERVED_USERS:
            paths.append(f"spec.users[{i}] ({user.name})")
        paths += [f"spec.users[{i}].databases ({name})" for name in user.databases if name in TEMPLATES]
    return paths


def databases(users: tuple[User, ...]) -> list[str]:
    """The databases of all users but `postgres`, sorted by name."""
    return sorted({database for user in users if user.name != "postgres" for database in user.databases})
