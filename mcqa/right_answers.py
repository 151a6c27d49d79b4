"""Telling the loop which choice was right, and learning whether it counts: for the verb and the page alike."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING

from common.environment import text
from common.event_types import FEEDBACK, SOURCE_CLI, SOURCE_UI
from common.links import without_password
from common.trace_context import root_traceparent, trace_id
from mcqa.errors import CommandError

if TYPE_CHECKING:
    from functions.collect.feedback import FeedbackOutcome

FINAL = ("counted", "superseded", "test-traffic", "no-such-letter")
"""Outcomes that do not change any more."""


def send(sink: str, answer_id: str, letter: str, source: str = SOURCE_CLI) -> str:
    """Sends that `letter` was right, in the answer's own trace; the event's id. CommandError where it is not taken."""
    import httpx2

    event = str(uuid.uuid4())
    headers = {"ce-specversion": "1.0", "ce-id": event, "ce-source": source, "ce-type": FEEDBACK}
    if trace := trace_id(answer_id.partition("/")[0]):
        headers["ce-traceparent"] = root_traceparent(trace)
    try:
        response = httpx2.post(sink, json={"answer_id": answer_id, "answer": letter}, headers=headers, timeout=10)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise CommandError(
            f"the broker at {without_password(sink)} does not answer ({error}): is the loop running?"
        ) from None
    if not response.is_success:
        raise CommandError(f"the broker answered {response.status_code}: {response.text[:200]}")
    return event


def send_from_page(environ: Mapping[str, str], answer_id: str, letter: str) -> str:
    """The same from the page, to K_SINK; SettingError where that is not set."""
    return send(text(environ, "K_SINK"), answer_id, letter, SOURCE_UI)


def outcome_of_page(environ: Mapping[str, str], event: str, answer_id: str, letter: str) -> FeedbackOutcome | None:
    """The outcome so far of an event that the page sent; None without a database to look into. UnavailableError."""
    from functions.collect import feedback
    from functions.database import URL_VARIABLE, connect, transaction

    if not environ.get(URL_VARIABLE):
        return None
    engine = connect(environ)
    try:
        with transaction(engine) as connection:
            return feedback.outcome(connection, SOURCE_UI, event, answer_id, letter)
    finally:
        engine.dispose()
