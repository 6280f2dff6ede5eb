"""structlog set-up: one JSON object per line on standard error, or text for a terminal.

Events are constant words; facts are keys. What is bound with `structlog.contextvars` (controller, namespace,
cluster, reconcile_id) is on every line of a pass, whoever writes it.
"""

import logging
import sys
from typing import Any

import orjson
import structlog


def configure(*, level: str, structured: bool) -> None:
    """Set up logging for the whole process; `level` is a word of `logging`."""
    number = logging.getLevelName(level)
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    logger_factory: Any
    if structured:
        shared += [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_dumps),
        ]
        logger_factory = structlog.BytesLoggerFactory(sys.stderr.buffer)
    else:
        # No rich tracebacks: they need a package, and print local variables, which may be secrets.
        shared.append(
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
        )
        logger_factory = structlog.PrintLoggerFactory(sys.stderr)
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=logger_factory,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[_Bridge()], force=True)
    logging.captureWarnings(capture=True)


def _dumps(event: dict[str, Any], **_: Any) -> bytes:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS)


class _Bridge(logging.Handler):
    """Lines of libraries (asyncio, aiohttp) in the same form as ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; never raises into the library."""
        logger = structlog.get_logger("library")
        logger.log(
            record.levelno,
            "library message",
            logger=record.name,
            text=record.getMessage(),
            exc_info=record.exc_info if record.exc_info and record.exc_info[0] else None,
        )
