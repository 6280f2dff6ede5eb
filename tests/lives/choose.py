"""Which step comes next. Pure: the same seed gives the same steps for the same cluster."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from tests.lives.model import Moment


class Shape(Protocol):
    """What preconditions know of a life."""

    @property
    def size(self) -> int:
        """Return the number of instances."""
        ...

    @property
    def moments(self) -> list[Moment]:
        """Return the targets of restores."""
        ...


@dataclass(frozen=True)
class Step:
    """A step of a life."""

    act: Callable[[Any, Random], Any]
    """Takes the step and waits for its effect; returns how to judge it, by default that no row is lost."""
    weight: int
    may: Callable[[Any], bool] = lambda _: True
    """Whether the step is possible now."""
    struck: bool = False
    """The status learns of it later, and clients may get errors."""
    planned: bool = False
    """The operator may be killed while it carries this step out."""
    keeps: tuple[str, ...] = ()
    """Pods that must not restart: "instances", "poolers", "servers" (PostgreSQL inside the pods)."""
    seconds: float = 180
    """When the cluster must be ready again after the effect."""


def choose(steps: Mapping[str, Step], shape: Shape, dice: Random) -> str:
    """Return the name of the next step."""
    possible = [name for name, step in steps.items() if step.may(shape)]
    [name] = dice.choices(possible, [steps[name].weight for name in possible])
    return name


def targets(shape: Shape, kind: str) -> list[Moment]:
    """Return the moments of one kind: "time" and "lsn", or "immediate" (the end of a backup)."""
    return [one for one in shape.moments if f"--type={kind}" in one.options]
