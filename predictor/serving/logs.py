"""JSON logs on stderr: one object per line, one line per request."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from predictor.serving.request_context import RequestContext

access = logging.getLogger("predictor.request")

_QUIET = ("kserve", "kserve.trace", "uvicorn", "uvicorn.error", "uvicorn.access", "grpc", "httpx2", "asyncio")


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: ts, level, logger, message, the fields given as `extra={"fields": …}`, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[0]:
            line["traceback"] = self.formatException(record.exc_info)
        # ASCII, because some Unicode characters end a line for log readers.
        return json.dumps(line, default=str)


def configure_logs(level: str) -> None:
    """Sends every logger of the process through one JSON handler; libraries only from level warning."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(max(logging.WARNING, root.level))
    # uvicorn's access lines would duplicate ours.
    logging.getLogger("uvicorn.access").propagate = False
    logging.captureWarnings(True)


def log_request(request: RequestContext, status: str, model_version: str, *, debug: bool) -> None:
    """Logs the request's line; at level debug for probes and scrapes, which would drown out the rest."""
    fields: dict[str, Any] = {
        "request_id": request.request_id,
        "trace_id": request.trace_id,
        "protocol": request.protocol,
        "method": request.method,
        "path": request.path[:256],
        "status": status,
        "duration_ms": round(request.seconds * 1000, 3),
        "questions": request.questions or None,
        "tokens": request.tokens or None,
        "queue_ms": _milliseconds(request.stage_seconds("queue")),
        "forward_ms": _milliseconds(request.stage_seconds("forward")),
        "model_version": model_version,
        "cause": request.cause,
        "error_id": request.error_id,
        "question_texts": request.texts or None,
    }
    level = logging.DEBUG if debug else logging.INFO
    access.log(level, "request", extra={"fields": {k: v for k, v in fields.items() if v is not None}})


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
