"""structlog set-up: one JSON object per line on standard error, or text for a terminal.

An event is a constant text, variable parts are keys. Keys bound with `structlog.contextvars` (controller,
namespace, cluster, reconcile_id) are on every line of a reconciliation, in every module.
"""

import json
import logging
import sys
from typing import Any

import orjson
import structlog


def configure(*, level: str, structured: bool) -> None:
    """Set up logging for the whole process; `level` is a level name of `logging`, such as INFO."""
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
        # No rich tracebacks: they need a package and print local variables, which can be secrets.
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
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError):
        # orjson refuses integers of more than 64 bits and lone surrogates; a log line must not end a worker.
        try:
            return json.dumps(event, default=str, skipkeys=True).encode()
        except (TypeError, ValueError):
            return json.dumps({"event": "log line not serializable", "text": ascii(event)}).encode()


class _Bridge(logging.Handler):
    """Forwards log lines of libraries (asyncio, aiohttp) to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; never raise into the library."""
        logger = structlog.get_logger("library")
        logger.log(
            record.levelno,
            "library message",
            logger=record.name,
            text=record.getMessage(),
            exc_info=record.exc_info if record.exc_info and record.exc_info[0] else None,
        )
