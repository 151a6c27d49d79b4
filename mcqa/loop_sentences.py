"""What the loop waits for and what wants a person, as sentences for a terminal: the page's English texts.

They are here a second time because a verb does not import the page; a test holds the two equal.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcqa.readmodels.loop_attention import Want
    from mcqa.readmodels.loop_parts import Fact

WAITING = {
    "model-sleeps": "the next question, which wakes it",
    "function-sleeps": "the next event, which wakes it",
    "drift-needs-champion": "a champion: without one there are no answers to compare",
    "drift-needs-reference": "a reference of version {version}: without one its answers cannot be compared",
    "drift-needs-answers": "{has} of {needed} answers until drift can say something",
    "drift-window-grows": "{enough} answers in the open window, which has {has}, or a difference before that",
    "drift-needs-check": "the next check, which closes a window of {has} answers or more",
    "drift-suspects": "{consecutive} suspicious windows in a row, which make an alarm: {windows} so far",
    "drift-alarm-stands": "another champion, or answers as before: until then the alarm stands",
    "retrain-run-active": "the end of its run, attempt {attempt} of {attempts}",
    "retrain-cools-down": "the end of the pause after the last run, in {seconds}",
    "retrain-starts": "the start of its run",
    "retrain-needs-champion": "a champion to train further",
    "retrain-needs-alarm": "an alarm, or the next scheduled retraining",
    "retrain-needs-labels": "{needed} answers that people labelled since the champion was made, which a retraining "
    "needs: {has} so far",
    "pipelines-needs-run": "a run to be asked for",
    "pipelines-runs": "the end of a retraining run, {state} for {seconds}",
    "rollout-needs-look": "its first look at the loop",
    "rollout-needs-challenger": "a challenger: the champion serves alone",
    "rollout-needs-champion": "a version with the alias champion",
    "rollout-needs-service": "the InferenceService: it is not there",
    "rollout-needs-deployment": "the first deployment: the InferenceService of kserve/",
    "rollout-needs-revision": "version {version} to be ready",
    "rollout-moves": "the traffic to move (version {version})",
    "rollout-held": "a person: version {version} is held at {percent} %",
    "rollout-needs-requests-and-time": "canary of version {version} at {percent} %: {requests} more questions to it, "
    "and at least {seconds}",
    "rollout-needs-requests": "canary of version {version} at {percent} %: {requests} more questions to it",
    "rollout-needs-time": "canary of version {version} at {percent} %: at least {seconds} more",
    "rollout-needs-evidence": "canary of version {version} at {percent} %: more evidence on {measures}; {seconds} "
    "left until people are asked",
}

SLEEPS = ("model-sleeps", "function-sleeps")

WANTS = {
    "rollout-no-champion": "No version has the alias champion, so nothing can be rolled out.",
    "rollout-no-inference-service": "There is no InferenceService: apply the manifests in kserve/.",
    "rollout-held-by-operator": "A person holds the rollout of version {version} at {percent} %; it stays there "
    "until somebody resumes it.",
    "rollout-inconclusive": "The canary of version {version} at {percent} % stayed inconclusive for too long: "
    "promote it or abort it.",
    "run-failed": "The last retraining failed in {attempts} attempts: {message}",
    "alarm-without-run": "A drift alarm of version {version} stands, and no retraining has taken it up.",
    "alarm-gate-refused": "Retraining did not answer the drift alarm of version {version}: {message}",
    "alarm-run-void": "The retraining for the drift alarm of version {version} was dropped: {message}",
    "alarm-run-canceled": "The retraining for the drift alarm of version {version} was canceled: {message}",
    "alarm-run-failed": "The retraining for the drift alarm of version {version} failed: {message}",
}
"""What `mcqa status` does not already name among the problems."""


def waiting(fact: Fact) -> str:
    """What a part waits for; `since` in its parameters becomes the seconds until now."""
    params: dict[str, Any] = dict(fact["params"])
    if "since" in params:
        since = params.pop("since")
        params["seconds"] = None if since is None else max(time.time() - since, 0.0)
    return WAITING[fact["code"]].format(**{name: _shown(name, value) for name, value in params.items()})


def want(wanted: Want) -> str:
    """What wants a person, with the command that helps; "" for what is a problem of its own."""
    template = WANTS.get(wanted["code"])
    if template is None:
        return ""
    sentence = template.format(**wanted["params"], message=wanted["message"] or "—")
    return f"{sentence} See `{wanted['command']}`." if wanted["command"] else sentence


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "—"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else (f"{minutes} min {rest} s" if minutes else f"{rest} s")


def _shown(name: str, value: Any) -> Any:
    match name:
        case "seconds":
            return duration(value)
        case "measures":
            return ", ".join(value) or "—"
    return f"{value:,}" if isinstance(value, int) else value
