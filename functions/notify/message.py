"""The notification of an event: what happened, why, what to do. Pure.

The loop's own events carry their evidence as JSON; CDEvents (specification 0.5) have `subject` and `content`, and the
reason, where there is one, in `customData.reason`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from common import event_types
from functions.events import BadEventError, Event, check_key, parse_json

Level = Literal["info", "success", "warning", "failure"]
MAX_WHY = 1500


@dataclass(frozen=True, slots=True)
class Message:
    """`key` is the digest of what the message is about: of two events with one key, one is sent."""

    key: str
    level: Level
    title: str
    why: str
    action: str
    link: str | None = None

    @property
    def body(self) -> str:
        lines = [f"Why: {self.why}"] if self.why else []
        lines.append(f"What to do: {self.action}")
        return "\n".join(lines + ([f"Link: {self.link}"] if self.link else []))


def build(event: Event) -> Message | None:
    """The message of an event; None for one without notification. BadEventError when it is not readable."""
    if (write := _WRITERS.get(event.type)) is None:
        return None
    check_key(event)
    data = parse_json(event.data)
    if not isinstance(data, dict):
        raise BadEventError("the data must be a JSON object")
    return write(event, data)


def _drift(event: Event, data: Mapping[str, Any]) -> Message:
    version = _plain(data.get("version")) or "unknown"
    rejected = [item for item in _list(data.get("evidence")) if item.get("rejected") is True]
    features = ", ".join(
        f"{_plain(item.get('feature'))} (effect {_number(item.get('effect'))}, floor {_number(item.get('floor'))}, "
        f"adjusted p {_number(item.get('p_adjusted'))}, n {_plain(item.get('n'))})"
        for item in rejected
    )
    why = _plain(data.get("reason")) + (f" Changed: {features}." if features else "")
    return Message(
        _key(event.type, version, data.get("window_start"), data.get("window_end")),
        "warning",
        f"Drift: answers of champion version {version} no longer look like its reference",
        why.strip()[:MAX_WHY],
        "nothing for now; retraining starts by itself unless one ran recently. Check whether the questions changed on "
        "purpose.",
    )


def _run_started(event: Event, data: Mapping[str, Any]) -> Message:
    run, content, reason = _parts(data)
    return Message(
        _key(event.type, run),
        "info",
        f"Retraining started: {_plain(content.get('pipelineName')) or 'pipeline'} run {run}",
        reason,
        "nothing; the quality gate decides whether the new version is better.",
        _plain(content.get("uri")) or None,
    )


def _run_finished(event: Event, data: Mapping[str, Any]) -> Message:
    run, content, reason = _parts(data)
    outcome = _plain(content.get("outcome")) or "unknown"
    good = outcome == "success"
    action = (
        "nothing; if the gate passed, a canary starts."
        if good
        else "read the run's log, fix the cause, and start it again."
    )
    return Message(
        _key(event.type, run, outcome),
        "success" if good else "failure",
        f"Retraining finished: run {run}, outcome {outcome}",
        (_plain(content.get("errors")) or reason)[:MAX_WHY],
        action,
        _plain(content.get("uri")) or None,
    )


def _gate(event: Event, data: Mapping[str, Any]) -> Message:
    run, content, reason = _parts(data)
    outcome = _plain(content.get("outcome")) or "unknown"
    good = outcome == "success"
    action = (
        "nothing; the new version is registered as challenger and gets a canary."
        if good
        else "nothing is deployed. More labelled answers make the gate see smaller differences; read its report."
    )
    return Message(
        _key(event.type, run, outcome),
        "success" if good else "warning",
        f"Gate {'passed' if good else 'did not pass'}: run {run}, outcome {outcome}",
        (_plain(content.get("reason")) or reason)[:MAX_WHY],
        action,
    )


def _published(event: Event, data: Mapping[str, Any]) -> Message:
    artifact, _, reason = _parts(data)
    return Message(
        _key(event.type, artifact),
        "info",
        f"New version registered: {artifact}",
        reason,
        "nothing; the rollout function gives it a canary.",
    )


def _upgraded(event: Event, data: Mapping[str, Any]) -> Message:
    service, content, reason = _parts(data)
    artifact = _plain(content.get("artifactId")) or "unknown"
    return Message(
        _key(event.type, service, artifact, *_environment(content)),
        "success",
        f"Promoted: {service} now answers with {artifact}",
        reason,
        "nothing; `mcqa rollout status` shows the evidence.",
    )


def _rolled_back(event: Event, data: Mapping[str, Any]) -> Message:
    service, content, reason = _parts(data)
    artifact = _plain(content.get("artifactId")) or "unknown"
    return Message(
        _key(event.type, service, artifact, reason, *_environment(content)),
        "failure",
        f"Rolled back: {service} answers with {artifact} again",
        reason,
        "the refused version is tagged with the reason and not tried again until that tag is removed; "
        "`mcqa rollout status` shows the evidence.",
    )


def _incident(event: Event, data: Mapping[str, Any]) -> Message:
    incident, content, reason = _parts(data)
    description = _plain(content.get("description"))
    service = content.get("service")
    about = _plain(service.get("id")) if isinstance(service, dict) else ""
    artifact = _plain(content.get("artifactId"))
    subject = " ".join(part for part in (about, artifact) if part) or incident
    return Message(
        _key(event.type, about, artifact, description, *_environment(content)),
        "failure",
        f"Incident: {subject}",
        (description or reason)[:MAX_WHY],
        "run `mcqa status` and `mcqa rollout status`; if users are affected, `mcqa rollout abort`.",
    )


_WRITERS: dict[str, Callable[[Event, Mapping[str, Any]], Message]] = {
    event_types.DRIFT_DETECTED: _drift,
    event_types.PIPELINERUN_STARTED: _run_started,
    event_types.PIPELINERUN_FINISHED: _run_finished,
    event_types.TESTSUITERUN_FINISHED: _gate,
    event_types.ARTIFACT_PUBLISHED: _published,
    event_types.SERVICE_UPGRADED: _upgraded,
    event_types.SERVICE_ROLLEDBACK: _rolled_back,
    event_types.INCIDENT_DETECTED: _incident,
}


def _parts(data: Mapping[str, Any]) -> tuple[str, Mapping[str, Any], str]:
    """A CDEvent's subject id, its content, and the reason in customData."""
    subject = data.get("subject")
    if not isinstance(subject, dict) or not (name := _plain(subject.get("id"))):
        raise BadEventError("subject: a CDEvent must have one, with an id")
    content, custom = subject.get("content"), data.get("customData")
    reason = _plain(custom.get("reason")) if isinstance(custom, dict) else ""
    return name, content if isinstance(content, dict) else {}, reason[:MAX_WHY]


def _environment(content: Mapping[str, Any]) -> list[str]:
    environment = content.get("environment")
    return [_plain(environment.get("id"))] if isinstance(environment, dict) else []


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _plain(value: Any) -> str:
    """A value on one line. Strings come from outside: line breaks in them could pose as lines of ours."""
    return " ".join(str(value).replace("\x00", "").split()) if isinstance(value, str | int | float) else ""


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else "unknown"


def _list(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
