"""Asks a deployed model, through its ingress, over v1 and v2, and says what it answered.

What it asks is marked as a test, and counts for nothing in the loop.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import httpx2

from common.names import INFERENCE_SERVICE
from tools.errors import ToolError

PREDICT = f"/v1/models/{INFERENCE_SERVICE}:predict"
INFER = f"/v2/models/{INFERENCE_SERVICE}/infer"
READY = f"/v2/models/{INFERENCE_SERVICE}/ready"
PARAMETERS = {"purpose": "test"}
TEXT, CHOICES = "What does print(7 // 2) show?", ["3", "3.5", "4"]
LETTERS = "ABC"
QUESTION = {"instances": [{"question": TEXT, "choices": CHOICES}], "parameters": PARAMETERS}
TENSORS = {
    "id": "smoke",
    "parameters": PARAMETERS,
    "inputs": [
        {"name": "question", "shape": [1], "datatype": "BYTES", "data": [TEXT]},
        {"name": "choices", "shape": [1, 3], "datatype": "BYTES", "data": CHOICES},
    ],
}
BAD_QUESTION = {"instances": [{"question": "Which?", "choices": ["a", "a"]}], "parameters": PARAMETERS}
RETRY_SECONDS = 2.0
MAX_BODY = 300


class SmokeTestError(ToolError):
    """The model does not answer as it should."""


@dataclass(frozen=True, slots=True)
class Reply:
    """`status` 0 where nothing answered; then `text` says why."""

    status: int
    seconds: float
    text: str
    content: Any = None

    @property
    def short(self) -> str:
        return self.text[:MAX_BODY]


def smoke(url: str, host: str, wait: float) -> None:
    """`host`: the host name by which the ingress finds the service; `wait`: seconds for a start from zero."""
    headers = {"Host": host} if host else {}
    with httpx2.Client(base_url=url.rstrip("/"), headers=headers, timeout=wait) as http:
        first = _first_answer(http, wait)
        letter, version = _letter_and_version(first)
        print(f"✓ v1: {letter}, version {version}, {first.seconds:.6f} s", flush=True)

        second = _ask(http, INFER, TENSORS)
        if second.status != 200:
            raise SmokeTestError(f"v2 answered {second.status}: {second.short}")
        if not isinstance(second.content, dict) or second.content.get("id") != TENSORS["id"]:
            raise SmokeTestError(f"v2 answered another id: {second.short}")
        print(f"✓ v2: {second.seconds:.6f} s", flush=True)

        bad = _ask(http, PREDICT, BAD_QUESTION)
        if bad.status != 400:
            raise SmokeTestError(f"a bad question was answered with {bad.status}, 400 is right: {bad.short}")
        print("✓ a bad question: 400", flush=True)

        ready = _ask(http, READY)
        if ready.status != 200:
            raise SmokeTestError(f"readiness answered {ready.status}")
        print("✓ ready", flush=True)


def _first_answer(http: httpx2.Client, wait: float) -> Reply:
    """The first question may wait for a start from zero, or for a gateway that is not up yet."""
    end = time.monotonic() + wait
    while (reply := _ask(http, PREDICT, QUESTION)).status != 200:
        if time.monotonic() >= end:
            hint = " (is HOST_HEADER the service's host name?)" if reply.status == 404 else ""
            answer = str(reply.status or "nothing")
            raise SmokeTestError(f"v1 answered {answer} after {wait:g} s{hint}: {reply.short}")
        time.sleep(RETRY_SECONDS)
    return reply


def _letter_and_version(reply: Reply) -> tuple[str, str]:
    try:
        letter = reply.content["predictions"][0]["letter"]
    except (KeyError, IndexError, TypeError):
        letter = None
    if letter not in tuple(LETTERS):
        raise SmokeTestError(f"v1 answered without a letter: {reply.short}")
    return letter, reply.content.get("model_version") or "?"


def _ask(http: httpx2.Client, path: str, body: dict[str, Any] | None = None) -> Reply:
    began = time.monotonic()
    try:
        response = http.get(path) if body is None else http.post(path, json=body)
    except httpx2.HTTPError as error:
        return Reply(0, time.monotonic() - began, f"{type(error).__name__}: {error}")
    try:
        content = response.json()
    except ValueError:
        content = None
    return Reply(response.status_code, time.monotonic() - began, response.text, content)
