"""The composition root: settings, client, controllers and servers become one process."""

import asyncio
import gc
import os
import signal
from collections.abc import Mapping, Sequence

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
    """Run the operator until a signal; returns the exit status: 0 stopped, 1 failed, 2 bad settings."""
    try:
        settings = Settings.from_env(environ)
    except BadSetting as error:
        log.configure(level="INFO", structured=True)
        logger.error("bad setting", error=str(error))  # noqa: TRY400 - its message says it all
        return 2
    log.configure(level=settings.log_level, structured=settings.structured)
    from reconcilers import controllers  # noqa: PLC0415 - after logging is set up, so that its errors are logged

    try:
        asyncio.run(_run(settings, environ, controllers(settings)))
    except OperatorError as error:
        logger.error("ended", error=str(error), type=type(error).__name__)  # noqa: TRY400
        return 1
    except Exception:
        logger.exception("ended unexpectedly")
        return 1
    return 0


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
    """Run `controllers` until `stop` is set; LeaseLost when another process may lead."""
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
    """Tell the collector that what exists now stays: modules and models need not be looked at again."""
    gc.collect()
    gc.freeze()
