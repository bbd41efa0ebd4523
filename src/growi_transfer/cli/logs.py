"""Log lines on standard error, as text or JSON; ours and those of the libraries in one form. No line holds a key."""

from __future__ import annotations

import logging
import sys
from typing import Any

import orjson
import structlog

from growi_transfer.settings import Settings

_QUIET = ("uvicorn.error", "uvicorn.access", "asyncio", "pymongo", "aiohttp", "engineio", "socketio")
"""Libraries whose news is of no use below a warning."""


def configure_logging(settings: Settings, *, server: bool) -> None:
    """Log from now on. A command that is no server is quiet unless a level was asked for: its output is the news,
    and tells warnings and failures in its own words."""
    name = settings.log_level if server or "log_level" in settings.model_fields_set else "error"
    level = logging.getLevelNamesMapping()[name.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.log_format == "json":
        renderer: list[Any] = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=lambda value, **_: orjson.dumps(value, default=str).decode()),
        ]
    else:
        renderer = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_plain_traceback)]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for library in _QUIET:
        logging.getLogger(library).setLevel(max(level, logging.WARNING))


_plain_traceback = structlog.dev.plain_traceback
"""The rich one prints local variables, among them keys."""
