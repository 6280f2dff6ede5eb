"""Act: switch over or restart the primary while clients of pgBouncer wait instead of failing.

Every pgBouncer pauses new transactions and lets running ones finish; then Patroni switches over or restarts;
then pgBouncer resumes. Each pod resumes by itself after `LIMIT` seconds, even if the operator is gone
(`pgbouncer-hold.sh`). Transactions that do not finish in time stop the change. With session pooling, sessions
keep their connections: the operator does not wait for them, and they lose the connection.
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
from reconcilers.pgcluster.pods import build_pod
from reconcilers.pgcluster.state.view import Instance, View, is_ready

log = structlog.get_logger(__name__)

PLANNED_MARK = f"{naming.SOCKET_PATH}.planned"
"""A file: the next stop of the server is planned (`before-stop.sh`, `hand-over.sh`)."""
DRAIN = 4
"""Seconds to wait for running transactions."""
LIMIT = 10
"""Seconds after which pgBouncer resumes in any case."""
PATRONI_SECONDS = 40
"""Seconds for a switchover by Patroni."""
PATRONI_LIMIT = PATRONI_SECONDS + 5
CHECKPOINT_SECONDS = 40
"""A longer checkpoint finishes without the operator, and the next try has less to write.

Checkpoint, hold, switchover and release must fit into one pass (`runtime.controller.DEADLINE`).
"""


class Refused(OperatorError):  # noqa: N818 - the name states the fact
    """The primary is unchanged; the message shows why."""


class Busy(Refused):
    """Clients did not finish their transactions in time."""


async def switch(ctx: Context, view: View, candidate: Instance, primary: Instance | None = None) -> None:
    """Make a replica the primary by a switchover; `primary` if it is not the observed one.

    Raises Busy when transactions do not end, Refused when Patroni refuses: the old primary then stays.
    """
    primary = primary or view.observed.primary
    assert primary is not None
    body = {"leader": primary.pod_name, "candidate": candidate.pod_name}
    await _checkpoint(ctx, view, primary)
    async with _clients_paused(ctx, view):
        # The primary's own Patroni acts immediately; another member's waits for its next loop.
        await _promote(ctx, view, candidate, address(view, primary), body)


async def fail_over(ctx: Context, view: View, candidate: Instance) -> None:
    """Make a replica the primary by a failover, without the old primary; raises Refused."""
    body = {"candidate": candidate.pod_name}
    await _promote(ctx, view, candidate, address(view, candidate), body)


async def restart(ctx: Context, view: View, instance: Instance) -> None:
    """Restart PostgreSQL in its container if parameters are still pending; raises Busy or Refused."""
    argv = build_pod.script("patroni.sh", address(view, instance), "restart", '{"restart_pending": true}')
    if not instance.is_primary:
        await _run(ctx, view, instance, argv)
        return
    await _checkpoint(ctx, view, instance)
    async with _clients_paused(ctx, view):
        await _run(ctx, view, instance, argv)


async def reload(ctx: Context, view: View, instance: Instance) -> None:
    """Let the instance's Patroni load its configuration again in its next loop; raises Refused."""
    argv = build_pod.script("patroni.sh", address(view, instance), "reload", "{}")
    await _run(ctx, view, instance, argv)


def is_strict(pooler: PgBouncer) -> bool:
    """Whether no pool uses session pooling, so that waiting for transactions is sufficient."""
    modes = [pooler.config.global_options.get("pool_mode", "session")]
    for entry in (*pooler.config.databases.values(), *pooler.config.users.values()):
        modes += [o.removeprefix("pool_mode=") for o in entry.split() if o.startswith("pool_mode=")]
    return "session" not in modes


@asynccontextmanager
async def _clients_paused(ctx: Context, view: View) -> AsyncIterator[None]:
    """Pause every ready pgBouncer, and resume it at the end; Busy when transactions do not finish."""
    pooler = view.cluster.spec.pg_bouncer
    # pgBouncer that the user has paused must stay paused.
    names = [name_of(p) for p in view.observed.pooler_pods if is_ready(p)]
    if pooler is None or pooler.paused:
        names = []
    hold = ("hold", str(view.cluster.spec.port), str(DRAIN), str(LIMIT))
    try:
        answers = await _run_in_poolers(ctx, view, names, hold)
        if pooler is not None and is_strict(pooler) and any(a.strip() == "busy" for a in answers):
            raise Busy(f"transactions through pgBouncer did not finish within {DRAIN} s")
        yield
    finally:
        await _run_in_poolers(ctx, view, names, ("release",))


async def _run_in_poolers(
    ctx: Context, view: View, names: Sequence[str], arguments: Sequence[str]
) -> list[str]:
    """Run the script in every pgBouncer pod and return the outputs; an unreachable pod resumes by itself."""
    command = build_pod.script("pgbouncer-hold.sh", *arguments)
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
            log.warning("could not pause or resume pgBouncer", pod=name, step=arguments[0], error=str(answer))
    return [a for a in answers if isinstance(a, str)]


async def _promote(ctx: Context, view: View, candidate: Instance, address: str, body: dict[str, str]) -> None:
    path = "switchover" if "leader" in body else "failover"
    argv = build_pod.script("switchover.sh", address, path, json.dumps(body), str(PATRONI_SECONDS))
    await _run(ctx, view, candidate, argv)
    log.info("changed the primary", to=candidate.pod_name, how=path)


async def _run(ctx: Context, view: View, instance: Instance, argv: Sequence[str]) -> None:
    """Run a command in the database container; Refused with its standard error."""
    pod = instance.pod_name
    try:
        await ctx.client.exec(view.namespace, pod, naming.DATABASE_CONTAINER, argv, timeout=PATRONI_LIMIT)
    except CommandFailed as error:
        raise Refused(f"Patroni: {error.stderr.strip()}") from error


async def _checkpoint(ctx: Context, view: View, primary: Instance) -> None:
    """Checkpoint, so that the shutdown has less to write while clients wait, and mark the stop as planned.

    The mark is written before and after: the first stops `hand-over.sh` from acting itself, and a mark has
    an effect for 30 s.
    """
    script = ': >"$0"; psql --no-psqlrc --quiet --command=CHECKPOINT postgres && : >"$0"'
    command = ("bash", "-c", script, PLANNED_MARK)
    pod = primary.pod_name
    await ctx.client.exec(view.namespace, pod, naming.DATABASE_CONTAINER, command, timeout=CHECKPOINT_SECONDS)


async def checkpoint(ctx: Context, view: View, primary: Instance) -> None:
    """Checkpoint before the primary's pod is deleted, so that it stops within its grace period."""
    try:
        await _checkpoint(ctx, view, primary)
    except OperatorError as error:
        log.warning("checkpoint before the restart failed", pod=primary.pod_name, error=str(error))


def address(view: View, instance: Instance) -> str:
    """Host and port of the instance's Patroni; the port of the pod, which may differ from the spec's."""
    containers = (instance.pod or {}).get("spec", {}).get("containers", [])
    ports = [port for container in containers for port in container.get("ports", [])]
    numbers = (p["containerPort"] for p in ports if p.get("name") == naming.PATRONI_PORT_NAME)
    port = next(numbers, view.cluster.spec.patroni.port)
    return f"{naming.pod_host(instance.name, view.name)}:{port}"
