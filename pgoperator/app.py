"""The composition root: settings, client, controllers and servers become one process."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import structlog

from pgoperator import __version__, log
from pgoperator.errors import OperatorError
from pgoperator.kube.access import Access, find_access
from pgoperator.kube.client import Client
from pgoperator.runtime.controller import Controller
from pgoperator.runtime.guard import Certificate, Guard
from pgoperator.runtime.manager import Manager
from pgoperator.runtime.server import Heart, Server
from pgoperator.settings import BadSetting, Settings

logger = structlog.get_logger(__name__)


def run(environ: Mapping[str, str] = os.environ) -> int:
    """Run the operator until a signal; return the exit status: 0 stopped, 1 failed, 2 invalid settings."""
    try:
        settings = Settings.from_env(environ)
    except BadSetting as error:
        log.configure(level="INFO", structured=True)
        logger.error("invalid setting", error=str(error))  # noqa: TRY400 - the message is sufficient
        return 2
    log.configure(level=settings.log_level, structured=settings.structured)
    if unused := settings.unused_features():
        logger.warning("feature gates without effect", gates=unused)
    from reconcilers import controllers  # noqa: PLC0415 - after logging is set up, so that its errors are logged

    try:
        asyncio.run(_run(settings, environ, controllers(settings)))
    except OperatorError as error:
        logger.error("operator failed", error=str(error), type=type(error).__name__)  # noqa: TRY400
        return 1
    except Exception:
        logger.exception("operator failed unexpectedly")
        return 1
    return 0


BLOCKED = 3
"""Exit status of a plan with blockers."""


def plan_takeover(namespace: str, name: str, environ: Mapping[str, str] = os.environ) -> int:
    """Print the plan of a takeover; return 0, BLOCKED, or 1 if no plan could be made."""
    from reconcilers.pgcluster.takeover import build_report, read_plan  # noqa: PLC0415 - as in `run`

    async def made() -> int:
        settings = Settings.from_env(environ)
        log.configure(level="ERROR", structured=False)
        client = Client(await find_access(environ, settings.service_account_dir))
        try:
            plan = await read_plan.plan(client, settings, namespace, name, datetime.now(UTC))
        finally:
            await client.close()
        sys.stdout.write(build_report.text(plan))
        return BLOCKED if plan.blockers else 0

    try:
        return asyncio.run(made())
    except OperatorError as error:
        sys.stderr.write(f"cannot plan the takeover of {namespace}/{name}: {error}\n")
        return 1


async def _run(settings: Settings, environ: Mapping[str, str], controllers: Sequence[Controller]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    access = await find_access(environ, settings.service_account_dir)
    await serve(settings, access, controllers, stop)


async def serve(
    settings: Settings, access: Access, controllers: Sequence[Controller], stop: asyncio.Event
) -> None:
    """Run `controllers` until `stop` is set; LeaseLost when another process can become the leader."""
    certificate = Certificate(settings.metrics_cert_dir) if settings.metrics_cert_dir else None
    client = Client(access)
    manager = Manager(settings, client, controllers, synced=_settle)
    heart = Heart()
    secure = (certificate, Guard(client.lane())) if certificate else None
    server = Server(heart, manager.unready, secure)
    beating = asyncio.create_task(heart.run())
    try:
        await server.start(settings.metrics_port, settings.health_port)
        logger.info(
            "started",
            version=__version__,
            server=access.server,
            namespaces=list(settings.namespaces) or "all",
        )
        await manager.run(stop)
    finally:
        beating.cancel()
        await server.stop()
        await client.close()


def _settle() -> None:
    """Exempt modules and models from garbage collection: they live as long as the process."""
    gc.collect()
    gc.freeze()
