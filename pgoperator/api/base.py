"""Base of all API models: validation settings, names, scalar types and CRD keywords.

There are two kinds of defaults:

* `Field(default=x)` is part of the CRD: the API server writes it into the stored object.
* `Field(default_factory=f)` is internal: the operator sets it when it parses a manifest. It is not visible
  in the object, so a later version can change it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from pgoperator import limits
from pgoperator.errors import InvalidSpec

GROUP = "pgv2.percona.com"
VERSION = "v2"
CR_VERSION = "3.1.0"
"""API version of these models; a new cluster without a `crVersion` gets it."""

_NUMBER = r"(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
QUANTITY = rf"^{_NUMBER}(([KMGTPE]i)|[numkMGTPE]|([eE]{_NUMBER}))?$"
"""Pattern of a Kubernetes quantity."""

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Schema:
    """Keywords for the schema of a type in the CRD that pydantic cannot express."""

    keywords: Mapping[str, Any]

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Merge the keywords into the schema that pydantic derives."""
        return {**handler(core), **self.keywords}

    def __hash__(self) -> int:
        """Hash the names of the keywords, because their values can be lists."""
        return hash(tuple(self.keywords))


def cel(*rules: tuple[str, str]) -> dict[str, Any]:
    """Return CEL validation rules; each is an expression and the message for a violation."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


MAP_BY_NAME = Schema({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]})
SET = Schema({"x-kubernetes-list-type": "set"})
ATOMIC = Schema({"x-kubernetes-list-type": "atomic"})
REQUIRED: dict[str, Any] = {"x-required": True}
"""Marks a field with a default as required in the CRD; the API server sets defaults before it validates."""
Int32 = Annotated[int, Schema({"format": "int32"})]
Int64 = Annotated[int, Schema({"format": "int64"})]
Port = Annotated[int, Field(ge=1024, le=65535), Schema({"format": "int32"})]
IntOrString = Annotated[int | str, Schema({"x-kubernetes-int-or-string": True})]
RepoName = Annotated[str, Field(pattern="^repo[1-4]$")]
CronSchedule = Annotated[str, Field(min_length=6)]
StringMap = dict[str, str]
PullPolicy = Literal["Always", "Never", "IfNotPresent"]


_PROBLEMS = 20
"""Problems of one object that are listed."""


def _rfc3339(time: datetime) -> str:
    """Format a time as Kubernetes does: UTC, whole seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Time = Annotated[AwareDatetime, PlainSerializer(_rfc3339, when_used="json")]


def yes() -> bool:
    """Return True: the internal default of a boolean field."""
    return True


class ApiModel(BaseModel):
    """A part of a custom resource: read-only, and deaf to fields that a newer version added."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, value: Any) -> Any:
        """Treat an explicit null as an absent field, as the API server does."""
        if isinstance(value, dict):
            return {name: field for name, field in value.items() if field is not None}
        return value

    def to_manifest(self) -> Manifest:
        """Return the JSON form with API field names, without null values and values equal to a default."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)


class ObjectMeta(ApiModel):
    """The part of an object's metadata that the operator reads."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: StringMap = Field(default_factory=dict)
    annotations: StringMap = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None

    @property
    def is_deleting(self) -> bool:
        """Whether the object is being deleted and waits for its finalizers."""
        return self.deletion_timestamp is not None


_REASON = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
_LONGEST_REASON, _LONGEST_MESSAGE = 1024, 32768


class Condition(ApiModel):
    """One observation about an object, in the form of meta/v1 Condition.

    Causes come from other programs. An unsuitable reason or message must not hide the condition, so it is
    converted and not refused.
    """

    type: str = Field(
        description="Name of what is observed, in CamelCase.", max_length=316, pattern="^[A-Za-z0-9./_-]+$"
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether the observation holds.")
    observed_generation: Int64 | None = Field(
        default=None, ge=0, description="Generation of the object on which the observation was made."
    )
    last_transition_time: Time = Field(description="When the status last changed.")
    reason: str = Field(
        description="Cause of the present status as one CamelCase word.",
        min_length=1,
        max_length=_LONGEST_REASON,
        pattern=_REASON,
    )
    message: str = Field(
        description="Cause of the present status in a sentence.", max_length=_LONGEST_MESSAGE
    )

    @field_validator("reason", mode="before")
    @classmethod
    def _as_one_word(cls, value: Any) -> Any:
        if not isinstance(value, str) or (len(value) <= _LONGEST_REASON and re.match(_REASON + r"\Z", value)):
            return value
        words = (word[:1].upper() + word[1:] for word in re.findall("[A-Za-z0-9]+", value))
        return "".join(words).lstrip("0123456789")[:_LONGEST_REASON] or "Unknown"

    @field_validator("message", mode="before")
    @classmethod
    def _shortened(cls, value: Any) -> Any:
        return value[:_LONGEST_MESSAGE] if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class Column:
    """One column that `kubectl get` prints; `wide`: only with `-o wide`."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False


AGE = Column("Age", ".metadata.creationTimestamp", "date")


@dataclass(frozen=True, slots=True)
class ResourceNames:
    """How a kind is called in the API and what `kubectl get` prints of it."""

    kind: str
    plural: str
    short_names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()


class Resource(ApiModel):
    """A whole custom resource; each kind adds its spec and its status."""

    NAMES: ClassVar[ResourceNames]
    API_VERSION: ClassVar[str] = f"{GROUP}/{VERSION}"

    metadata: ObjectMeta

    @property
    def name(self) -> str:
        """The object's name."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """The object's namespace."""
        return self.metadata.namespace

    @classmethod
    def parse(cls, manifest: Manifest) -> Self:
        """Convert an object of the API server; `InvalidSpec` lists the fields that do not fit the model."""
        limits.check(manifest.get("spec"))
        try:
            return cls.model_validate(manifest)
        except ValidationError as error:
            raise InvalidSpec("; ".join(_problems(error))) from error


def _problems(error: ValidationError) -> list[str]:
    """Return one line per problem with its path and cause, without values, which can be secret."""
    problems = error.errors(include_url=False, include_input=False)
    lines = [
        f"{_path(problem['loc'])}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"
        for problem in problems[:_PROBLEMS]
    ]
    more = len(problems) - _PROBLEMS
    return [*lines, f"and {more} more problems"] if more > 0 else lines


def _path(location: tuple[int | str, ...]) -> str:
    """Format a location as Kubernetes does: `spec.instances[0].replicas`."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step:.63}"
    return path.lstrip(".")
