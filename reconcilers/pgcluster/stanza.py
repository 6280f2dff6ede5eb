"""Act: initialise the repositories, so that WAL can be archived.

Run at the repository host, where every repository is at hand, once for each set of repositories; that it was
done is kept in the status. It waits until the cluster serves: readiness comes first, and PostgreSQL keeps WAL
until it can be pushed.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from pgoperator import naming
from pgoperator.context import Context
from pgoperator.errors import CommandFailed
from pgoperator.kube.manifest import Manifest
from pgoperator.runtime.result import Wait
from reconcilers.pgcluster import pods, repository
from reconcilers.pgcluster.view import View, is_ready

log = structlog.get_logger(__name__)

# The script's way to say that kubelet has not yet mounted the configuration it was asked for (EX_TEMPFAIL).
NOT_MOUNTED = 75
TIMEOUT_SECONDS = 100
# A cluster that is not complete after this time gets its archive all the same.
PATIENCE = timedelta(seconds=30)


def known(view: View) -> str | None:
    """Digest of the present repositories if their stanza is known to exist, else None."""
    backups = view.cluster.spec.backups
    if not backups.enabled:
        return None
    digest = repository.digest(view)
    previous = view.cluster.status.pgbackrest
    found = {repo.name: repo for repo in previous.repos} if previous else {}
    present = all(
        repo.name in found
        and found[repo.name].stanza_created
        and found[repo.name].repo_options_hash == digest
        for repo in backups.repos
    )
    return digest if present else None


def is_due(view: View, *, ready: bool) -> bool:
    """Whether the stanza can and should be made now."""
    primary, host = view.observed.primary, view.observed.repo_host_pod
    if not view.cluster.spec.backups.enabled or primary is None or host is None or not is_ready(host):
        return False
    return ready or _age(host, view.now) > PATIENCE


def _age(pod: Manifest, now: datetime) -> timedelta:
    started = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
    return now - started


@dataclass(frozen=True, slots=True)
class Made:
    """What came of it: the digest of the repositories, or why not and when to try again."""

    digest: str | None = None
    error: str = ""
    waits: tuple[Wait, ...] = ()


async def act(ctx: Context, view: View) -> Made:
    """Create or upgrade the stanza in every repository."""
    host = naming.pod(naming.repo_host(view.name))
    command = pods.script("pgbackrest-stanza.sh", repository.digest(view))
    try:
        await ctx.client.exec(
            view.namespace, host, naming.PGBACKREST_CONTAINER, command, timeout=TIMEOUT_SECONDS
        )
    except CommandFailed as error:
        if error.code == NOT_MOUNTED:
            return Made(waits=(Wait("the repository host does not have its present configuration yet", 5),))
        said = " ".join(error.said.split())[:500]
        log.warning("the stanza could not be created", output=said)
        return Made(error=said, waits=(Wait("the stanza is tried again", 10),))
    log.info("created the stanza")
    return Made(repository.digest(view))
