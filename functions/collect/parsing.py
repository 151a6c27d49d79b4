"""The facts in an event: a request was made, it was answered, or somebody gave the right answer. Pure.

Requests and responses are distinguished by type and joined by (source, id) in the database, so their order does not
matter. They happened at their `time`, as far as it can be trusted (functions/clocks.py): `recordedtime` is when the
logger's queue sent them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from common.annotations import MODEL_VERSION_ANNOTATION
from common.event_types import FEEDBACK, INFERENCE_REQUEST, INFERENCE_RESPONSE
from common.question import LETTERS
from functions.clocks import EventTimes, event_times
from functions.collect.payloads import AnswerFeatures, read_answers, read_questions
from functions.events import MAX_BYTES, BadEventError, Event, check_key, parse_json

MAX_PLACE = 100_000


@dataclass(frozen=True, slots=True)
class RequestEvent:
    """A request with its questions as JSON objects (none where they came as binary tensors).

    `purpose` is None for a real question; a test's counts for nothing.
    """

    source: str
    id: str
    version: str | None
    times: EventTimes
    questions: tuple[dict[str, Any], ...]
    purpose: str | None = None


@dataclass(frozen=True, slots=True)
class ResponseEvent:
    source: str
    id: str
    version: str | None
    times: EventTimes
    answers: tuple[AnswerFeatures, ...]
    purpose: str | None = None


@dataclass(frozen=True, slots=True)
class FeedbackEvent:
    """Feedback: the answer at `place` of the exchange `answer_id` should have been `letter`."""

    source: str
    id: str
    answer_id: str
    place: int
    letter: str
    times: EventTimes


CollectedEvent = RequestEvent | ResponseEvent | FeedbackEvent


def parse_event(event: Event, now: float) -> CollectedEvent:
    """The facts of one event; NoInferenceError where there is nothing to record, BadEventError when it can never be
    understood."""
    read = _READERS.get(event.type)
    if read is None:
        raise BadEventError(f"type: collect knows {', '.join(TYPES)}, found {event.type[:120]!r}")
    check_key(event)
    return read(event, event_times(event, now))


def answer_key(answer_id: str) -> tuple[str, int]:
    """(event id, place) of an answer id: `<event id>/<place>`, or the event id alone for the first answer."""
    exchange, slash, place = answer_id.rpartition("/")
    if slash and exchange and place.isascii() and place.isdigit() and int(place[:9]) <= MAX_PLACE:
        return exchange, int(place)
    return answer_id, 0


def version_of(event: Event) -> str | None:
    """The version that the logger's `annotations` extension names."""
    if not (text := event.extensions.get("annotations")):
        return None
    annotations = parse_json(text, "annotations")
    if not isinstance(annotations, dict):
        raise BadEventError("annotations: must be a JSON object")
    version = annotations.get(MODEL_VERSION_ANNOTATION)
    return None if version is None else checked_version(version)


def checked_version(version: Any) -> str:
    if not isinstance(version, str) or not 0 < len(version) <= 200 or not version.isprintable():
        raise BadEventError(f"model version: must be a string of 1 to 200 characters, found {version!a}"[:200])
    return version


def _asked(event: Event, times: EventTimes) -> RequestEvent:
    questions, purpose = read_questions(event.data)
    return RequestEvent(event.source, event.id, version_of(event), times, questions, purpose)


def _responded(event: Event, times: EventTimes) -> ResponseEvent:
    answers, named, purpose = read_answers(event.data)
    version = version_of(event)
    if version is None and named is not None:
        version = checked_version(named)
    return ResponseEvent(event.source, event.id, version, times, answers, purpose)


def _judged(event: Event, times: EventTimes) -> FeedbackEvent:
    data = parse_json(event.data)
    if not isinstance(data, dict):
        raise BadEventError('the data must be an object like {"answer_id": "…", "answer": 2}')
    answer_id = data.get("answer_id")
    if (
        not isinstance(answer_id, str)
        or not 0 < len(answer_id.encode("utf-8", "replace")) <= MAX_BYTES
        or not answer_id.isprintable()
    ):
        raise BadEventError(f"answer_id: must be a string of 1 to {MAX_BYTES} bytes")
    exchange, place = answer_key(answer_id)
    return FeedbackEvent(event.source, event.id, exchange, place, _letter(data.get("answer")), times)


def _letter(answer: Any) -> str:
    if type(answer) is int and 0 <= answer < len(LETTERS):
        return LETTERS[answer]
    if isinstance(answer, str) and len(answer) == 1 and answer.upper() in LETTERS:
        return answer.upper()
    raise BadEventError(
        f"answer: must be an index from 0 or a letter {LETTERS[0]} to {LETTERS[-1]}, found {answer!a}"[:200]
    )


_READERS: dict[str, Callable[[Event, EventTimes], CollectedEvent]] = {
    INFERENCE_REQUEST: _asked,
    INFERENCE_RESPONSE: _responded,
    FEEDBACK: _judged,
}

TYPES = tuple(_READERS)
"""The event types that collect takes, which its Trigger must let through."""
