"""How the primary changes or restarts while clients of pgBouncer wait instead of failing.

Every pgBouncer holds new transactions back and lets those under way end; then Patroni does its work, then
they go on. Each pod lets its clients go on by itself after `LIMIT` seconds, whatever becomes of the operator
(`pgbouncer-hold.sh`). Transactions that do not end in time stop the change and not the other way round; where
sessions hold their connections, as with session pooling, they cannot be waited for and lose them.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog

from pgoperator import naming
from pgoperator.api.pooling import PgBouncer
from pgoperator.context import Context
from pgoperator.errors import CommandFailed, OperatorError
from pgoperator.kube.manifest import name_of
from reconcilers.pgcluster import pods
from reconcilers.pgcluster.view import Instance, View, is_ready

log = structlog.get_logger(__name__)

DRAIN = 4
"""Seconds that transactions under way are waited for."""
LIMIT = 10
"""Seconds after which clients of pgBouncer go on in any case."""
PATRONI_SECONDS = 40
CHECKPOINT_SECONDS = 120


class Refused(OperatorError):  # noqa: N818 - the name states the fact
    """The primary stays what it is; the message says why."""


class Busy(Refused):
    """Clients do not end their transactions."""


async def switch(ctx: Context, view: View, candidate: Instance) -> None:
    """Make a replica the primary, in order; Refused with the old primary in place."""
    primary = view.observed.primary
    assert primary is not None
    body = {"leader": primary.pod_name, "candidate": candidate.pod_name}
    await _checkpoint(ctx, view, primary)
    async with _held(ctx, view):
        # The primary's own Patroni acts at once, anybody else's waits for its next round.
        await _promote(ctx, view, candidate, address(view, primary), body)


async def fail_over(ctx: Context, view: View, candidate: Instance) -> None:
    """Make a replica the primary without the primary's help."""
    body = {"candidate": candidate.pod_name}
    await _promote(ctx, view, candidate, address(view, candidate), body)


async def restart(ctx: Context, view: View, instance: Instance) -> None:
    """Restart PostgreSQL in its container, if its parameters still wait for that."""
    words = pods.script("patroni.sh", address(view, instance), "restart", '{"restart_pending": true}')
    if not instance.is_primary:
        await _ask(ctx, view, instance, words)
        return
    await _checkpoint(ctx, view, instance)
    async with _held(ctx, view):
        await _ask(ctx, view, instance, words)


def is_strict(pooler: PgBouncer) -> bool:
    """Whether all pools lend connections for a transaction only, so that they can be waited for."""
    modes = [pooler.config.global_options.get("pool_mode", "session")]
    for entry in (*pooler.config.databases.values(), *pooler.config.users.values()):
        modes += [word.removeprefix("pool_mode=") for word in entry.split() if word.startswith("pool_mode=")]
    return "session" not in modes


@asynccontextmanager
async def _held(ctx: Context, view: View) -> AsyncIterator[None]:
    """Hold the clients of every pgBouncer back; Refused when their transactions do not end."""
    pooler = view.cluster.spec.pg_bouncer
    # Whoever paused it wants it paused afterwards.
    names = [name_of(p) for p in view.observed.pooler_pods if is_ready(p)]
    if pooler is None or pooler.paused:
        names = []
    hold = ("hold", str(view.cluster.spec.port), str(DRAIN), str(LIMIT))
    try:
        answers = await _at_all(ctx, view, names, hold)
        if pooler is not None and is_strict(pooler) and any(a.strip() == "busy" for a in answers):
            raise Busy(f"transactions at pgBouncer did not end within {DRAIN} s")
        yield
    finally:
        await _at_all(ctx, view, names, ("release",))


async def _at_all(ctx: Context, view: View, names: Sequence[str], words: Sequence[str]) -> list[str]:
    """What the script says at every pgBouncer; one that cannot be reached goes on by itself."""
    command = pods.script("pgbouncer-hold.sh", *words)
    answers = await asyncio.gather(
        *(
            ctx.client.exec(view.namespace, name, naming.PGBOUNCER_CONTAINER, command, timeout=LIMIT)
            for name in names
        ),
        return_exceptions=True,
    )
    for name, answer in zip(names, answers, strict=True):
        if isinstance(answer, BaseException):
            if not isinstance(answer, OperatorError):
                raise answer
            log.warning("pgBouncer's clients could not be told", pod=name, step=words[0], error=str(answer))
    return [a for a in answers if isinstance(a, str)]


async def _promote(ctx: Context, view: View, candidate: Instance, address: str, body: dict[str, str]) -> None:
    path = "switchover" if "leader" in body else "failover"
    words = pods.script("switchover.sh", address, path, json.dumps(body), str(PATRONI_SECONDS))
    await _ask(ctx, view, candidate, words)
    log.info("changed the primary", to=candidate.pod_name, how=path)


async def _ask(ctx: Context, view: View, instance: Instance, words: Sequence[str]) -> None:
    pod, seconds = instance.pod_name, PATRONI_SECONDS + 30
    try:
        await ctx.client.exec(view.namespace, pod, naming.DATABASE_CONTAINER, words, timeout=seconds)
    except CommandFailed as error:
        raise Refused(f"Patroni: {error.output.strip()}") from error


async def _checkpoint(ctx: Context, view: View, primary: Instance) -> None:
    """Write out what shutting down would have to, before anybody waits for it."""
    psql = ("psql", "--no-psqlrc", "--quiet", "--command=CHECKPOINT", "postgres")
    pod = primary.pod_name
    await ctx.client.exec(view.namespace, pod, naming.DATABASE_CONTAINER, psql, timeout=CHECKPOINT_SECONDS)


async def checkpoint(ctx: Context, view: View, primary: Instance) -> None:
    """Before a primary's pod is deleted: what must be written then should fit into its grace."""
    try:
        await _checkpoint(ctx, view, primary)
    except OperatorError as error:
        log.warning("no checkpoint before the restart", pod=primary.pod_name, error=str(error))


def address(view: View, instance: Instance) -> str:
    """Where the instance's Patroni listens; a pod may be of a time when the CR had another port."""
    containers = (instance.pod or {}).get("spec", {}).get("containers", [])
    ports = [port for container in containers for port in container.get("ports", [])]
    found = (p["containerPort"] for p in ports if p.get("name") == naming.PATRONI_PORT_NAME)
    port = next(found, view.cluster.spec.patroni.port)
    return f"{naming.pod_host(instance.name, view.name)}:{port}"
