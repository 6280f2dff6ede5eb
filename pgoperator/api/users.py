"""Users of the database."""

from typing import Annotated, Literal

from pydantic import Field

from pgoperator import limits
from pgoperator.api.base import REQUIRED, SET, ApiModel

USER_NAME = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
NAME_LENGTH = 63
"""PostgreSQL truncates longer identifiers."""

RESERVED_USERS = frozenset({"monitor", "logicalrepl"})
"""Roles that the operator manages itself; a user of that name in the list is skipped."""

DatabaseName = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH)]


class Password(ApiModel):
    """How a password is generated."""

    type: Literal["ASCII", "AlphaNumeric"] = Field(
        default="ASCII", json_schema_extra=REQUIRED, description="Characters that the password is made of."
    )


class User(ApiModel):
    """A role that can log in, its databases and its Secret."""

    name: str = Field(
        min_length=1, max_length=NAME_LENGTH, pattern=USER_NAME, description="Name of the role in PostgreSQL."
    )
    databases: Annotated[tuple[DatabaseName, ...], SET] = Field(
        default_factory=tuple,
        max_length=limits.DATABASES,
        description="Databases, created if missing, on which the user has all privileges.",
    )
    options: str = Field(
        default_factory=str,
        max_length=200,
        pattern="^[^;]*$",
        description="Attributes of the role as in `ALTER ROLE`, without a password.",
    )
    password: Password = Field(default_factory=Password, description="How the password is generated.")
    secret_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=NAME_LENGTH,
        description="Secret with the credentials; `<cluster>-pguser-<name>` when empty.",
    )
    grant_public_schema_access: bool = Field(
        default_factory=bool, description="Allow the user to create objects in the schema `public`."
    )
