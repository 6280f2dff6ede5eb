"""The steps of a pass: what each resource group of a cluster shall look like, in the order of reading.

A step maps a View to manifests. "Off" is an empty list, "not yet" is a Wait, a request that cannot be met is
an InvalidSpec: the other steps go on, and nothing is pruned in a pass in which a step had no complete answer.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from pgoperator.errors import InvalidSpec
from pgoperator.kube.manifest import Manifest
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster import (
    access,
    configuration,
    disruption,
    instances,
    pgbouncer,
    repository,
    services,
)
from reconcilers.pgcluster.problems import Problem
from reconcilers.pgcluster.view import View

Desired = Callable[[View], list[Manifest] | Wait]

STEPS: dict[str, Desired] = {
    "access": access.desired,
    "services": services.desired,
    "configuration": configuration.desired,
    "repository": repository.desired,
    "instances": instances.desired,
    "pgbouncer": pgbouncer.desired,
    "disruption": disruption.desired,
}


@dataclass(slots=True)
class Answers:
    """What all steps said."""

    manifests: list[Manifest] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether everything that is wanted is among the manifests: only then may the rest be pruned."""
        return not self.waits and not self.problems


def ask_all(view: View) -> Answers:
    """Ask every step; one that cannot answer does not keep the others from it."""
    answers = Answers()
    for desired in STEPS.values():
        try:
            answer = desired(view)
        except InvalidSpec as error:
            answers.problems.append(Problem(error.reason, str(error)))
            continue
        if isinstance(answer, Wait):
            answers.waits.append(answer)
        else:
            answers.manifests += answer
    return answers
