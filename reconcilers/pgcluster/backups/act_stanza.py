"""Act: create the stanza in the repositories, so that WAL can be archived.

The command runs in the repository host, which reaches every repository. It runs once for each set of
repositories and each database system, and the status records its success. It waits until the cluster is
ready: readiness comes first, and PostgreSQL keeps WAL until the WAL can be pushed. The command refuses
repositories of other clusters.
"""

import re
from dataclasses import dataclass

import structlog

from pgoperator import naming
from pgoperator.context import Context
from pgoperator.errors import CommandFailed
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster.backups import decide_readiness
from reconcilers.pgcluster.pods import build_pod
from reconcilers.pgcluster.state import repositories
from reconcilers.pgcluster.state.findings import Problem
from reconcilers.pgcluster.state.view import View

log = structlog.get_logger(__name__)

# Exit status while kubelet has not yet mounted the present configuration (EX_TEMPFAIL), or the script itself.
NOT_MOUNTED = (75, 127)
# Exit status of the script for a repository that is not this cluster's own.
FOREIGN = 77
FOREIGN_SECONDS = 300
"""No event reports that another cluster has left a repository; a change of this cluster starts a pass."""
TIMEOUT_SECONDS = 100
_EMPTY = re.compile(r"^without-backup:((?: [1-4])*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class StanzaResult:
    """The result of an attempt, and what is awaited."""

    tried: bool = True
    digest: str | None = None
    """Digest of the repositories whose stanza exists."""
    checked: bool = False
    """Whether the repositories have the mark of this cluster."""
    empty: tuple[str, ...] = ()
    """Names of the repositories that have no backup."""
    problem: Problem | None = None
    waits: tuple[Wait, ...] = ()


async def act(ctx: Context, view: View, *, ready: bool) -> StanzaResult:
    """Create or upgrade the stanza in every repository once it is due; `ready`: whether the cluster is."""
    if not decide_readiness.is_due(view, ready=ready):
        left = decide_readiness.patience(view)
        if left is None:
            return StanzaResult(tried=False)
        wait = Wait("the stanza waits for the replicas", left.total_seconds() + 0.1)
        return StanzaResult(tried=False, waits=(wait,))
    host = naming.pod(naming.repo_host(view.name))
    try:
        output = await ctx.client.exec(
            view.namespace, host, naming.PGBACKREST_CONTAINER, command(view), timeout=TIMEOUT_SECONDS
        )
    except CommandFailed as error:
        return _failed(view, error)
    log.info("created the stanza")
    wait = Wait("PostgreSQL may archive from now on", 1)
    found = _EMPTY.search(output)
    empty = tuple(f"repo{number}" for number in found[1].split()) if found else ()
    return StanzaResult(digest=repositories.digest(view), checked=True, empty=empty, waits=(wait,))


def command(view: View) -> list[str]:
    """The command that creates the stanza."""
    repos = (f"{repo.number}:{_mode(view, repo.name)}" for repo in view.repos)
    about = repositories.digest(view), repositories.owner(view)
    return build_pod.script("pgbackrest-claim.sh", *about, *repos)


def _mode(view: View, repo: str) -> str:
    return "take" if repositories.is_given(view, repo) else repositories.history(view, repo)


def _failed(view: View, error: CommandFailed) -> StanzaResult:
    # An error shows nothing about a stanza that the status records; a refusal does.
    known = repositories.known(view)
    if error.code in NOT_MOUNTED:
        wait = Wait("waiting for kubelet to update the repository host's configuration", 5)
        return StanzaResult(digest=known, waits=(wait,))
    if error.code == FOREIGN:
        message = " ".join(error.diagnostics.split())[:1500]
        log.warning("a repository belongs to another cluster", output=message)
        # If it was taken for this cluster's own until now, the next pass ends archiving at once.
        wait = Wait("a repository belongs to another cluster", 1 if known else FOREIGN_SECONDS)
        return StanzaResult(problem=Problem(decide_readiness.FOREIGN, message), waits=(wait,))
    message = " ".join(error.diagnostics.split())[:500]
    log.warning("cannot create the stanza", output=message)
    wait = Wait("retrying to create the stanza", 10)
    return StanzaResult(digest=known, problem=Problem("StanzaFailed", message), waits=(wait,))
