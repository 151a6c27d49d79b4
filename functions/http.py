"""From an HTTP request to a function's action, and back to the status that determines what the Broker does next.

no error            204, empty: a body that is not a CloudEvent would count as a malformed reply and be retried
Pending             202, empty: kept, though it cannot be used yet
BadEventError       400, to the dead letters immediately: no retry helps
UnavailableError    503, retried with backoff: a database or a receiver of messages is unavailable
anything else       500, retried, then to the dead letters: our mistake, with its traceback in the log
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from flask import Request, Response

from common.errors import UnavailableError
from functions.events import BadEventError, Event, read_event


@dataclass(frozen=True, slots=True)
class Pending:
    """The outcome of an event that is kept until others arrive; a word or a line for the log."""

    outcome: str


def respond(request: Request, function: str, act: Callable[[Event], str | Pending]) -> Response:
    """The response to one event. `act` does the work and returns the outcome, a word or a line for the log."""
    if request.method != "POST":
        return Response("this function takes a CloudEvent by POST\n", 405, {"Allow": "POST"}, mimetype="text/plain")
    event: Event | None = None
    try:
        event = read_event(request.headers.items(), request.get_data())
        done = act(event)
        outcome, status = (done.outcome, 202) if isinstance(done, Pending) else (done, 204)
    except BadEventError as error:
        outcome, status = str(error), 400
    except UnavailableError as error:
        outcome, status = str(error), 503
    except Exception as error:  # noqa: BLE001 - any mistake of ours is a 500, with its traceback in the log
        with suppress(OSError):
            traceback.print_exc()
        outcome, status = f"unexpected {type(error).__name__}; the function's log has the traceback", 500
    log(function, outcome, status, event)
    return Response(status=status) if status < 300 else Response(f"{outcome}\n", status, mimetype="text/plain")


def log(function: str, outcome: str, status: int = 0, event: Event | None = None) -> None:
    """One JSON line on stderr; none where that is a file on a full disk: the work is done all the same."""
    line: dict[str, object] = {"time": round(time.time(), 3), "function": function, "message": outcome}
    if status:
        line["status"] = status
    if event is not None:
        line |= {"id": event.id, "source": event.source, "type": event.type}
        line |= {"traceparent": event.extensions["traceparent"]} if "traceparent" in event.extensions else {}
    with suppress(OSError):
        # In one call: `print` writes the line's end by itself, behind which another thread's line may have come.
        sys.stderr.write(f"{json.dumps(line)}\n")
        sys.stderr.flush()
