"""What every model of the API shares: strictness, names, scalar types and the hints for the CRD.

Two kinds of defaults, told apart by how they are written:

* `Field(default=x)` is part of the CRD: the API server writes it into the stored object.
* `Field(default_factory=f)` is the operator's own: it is filled in when a manifest is parsed, and
  nobody but the operator sees it, so a later version may choose another value.
"""

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
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from pgoperator.errors import InvalidSpec

GROUP = "pgv2.percona.com"
VERSION = "v2"
CR_VERSION = "3.1.0"
"""The version of the API that these models describe; a new cluster without a `crVersion` follows it."""

_NUMBER = r"(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
QUANTITY = rf"^{_NUMBER}(([KMGTPE]i)|[numkMGTPE]|([eE]{_NUMBER}))?$"
"""How Kubernetes writes an amount."""

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Schema:
    """Keywords that a type adds to its schema in the CRD, where pydantic has no word for them."""

    keywords: Mapping[str, Any]

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Lay the keywords over what pydantic derives."""
        return {**handler(core), **self.keywords}

    def __hash__(self) -> int:
        """Hash by the names of the keywords: their values may be lists."""
        return hash(tuple(self.keywords))


def cel(*rules: tuple[str, str]) -> dict[str, Any]:
    """Validation rules for the API server, each an expression and the sentence shown when it fails."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


MAP_BY_NAME = Schema({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]})
SET = Schema({"x-kubernetes-list-type": "set"})
ATOMIC = Schema({"x-kubernetes-list-type": "atomic"})
REQUIRED: dict[str, Any] = {"x-required": True}
"""For a field that the CRD requires although it has a default (the API server defaults first)."""

Int32 = Annotated[int, Schema({"format": "int32"})]
Int64 = Annotated[int, Schema({"format": "int64"})]
Port = Annotated[int, Field(ge=1024), Schema({"format": "int32"})]
IntOrString = Annotated[int | str, Schema({"x-kubernetes-int-or-string": True})]
RepoName = Annotated[str, Field(pattern="^repo[1-4]$")]
CronSchedule = Annotated[str, Field(min_length=6)]
StringMap = dict[str, str]
PullPolicy = Literal["Always", "Never", "IfNotPresent"]


def _rfc3339(time: datetime) -> str:
    """Write a time as Kubernetes does: UTC, whole seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Time = Annotated[AwareDatetime, PlainSerializer(_rfc3339, when_used="json")]


def yes() -> bool:
    """Return the default of a switch that the operator treats as on."""
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
        """Read an explicit null as an absent field, as the API server does."""
        if isinstance(value, dict):
            return {name: field for name, field in value.items() if field is not None}
        return value

    def to_manifest(self) -> Manifest:
        """Give the JSON form under the names of the API, without what equals a default: null, empty list."""
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
        """Whether someone asked for the object's deletion and finalizers still hold it."""
        return self.deletion_timestamp is not None


class Condition(ApiModel):
    """One observation about an object, in the form of meta/v1 Condition."""

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
        max_length=1024,
        pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
    )
    message: str = Field(description="Cause of the present status in a sentence.", max_length=32768)


@dataclass(frozen=True, slots=True)
class Column:
    """One column that `kubectl get` prints."""

    name: str
    path: str
    type: str = "string"


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
        """Read an object of the API server; what does not fit ends in an `InvalidSpec` for the user."""
        try:
            return cls.model_validate(manifest)
        except ValidationError as error:
            raise InvalidSpec("; ".join(_problems(error))) from error


def _problems(error: ValidationError) -> list[str]:
    """Say for each problem where it is and what it is, in one line without values (they may be secret)."""
    return [
        f"{_path(problem['loc'])}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"
        for problem in error.errors(include_url=False, include_input=False)
    ]


def _path(location: tuple[int | str, ...]) -> str:
    """Write a location the way Kubernetes does: `spec.instances[0].replicas`."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return path.lstrip(".")
