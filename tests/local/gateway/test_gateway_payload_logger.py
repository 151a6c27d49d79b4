"""Payload events as KServe's agent was seen to send them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from common.event_types import INFERENCE_REQUEST, INFERENCE_RESPONSE
from functions.collect.parsing import RequestEvent, ResponseEvent, parse_event
from functions.collect.payloads import NoInferenceError
from functions.events import Event
from local.gateway.payload_logger import (
    LoggerSpec,
    PayloadEvent,
    PayloadLogger,
    event_headers,
    logged_headers,
    rfc3339_nano,
)
from local.serving.logger_spec import logger_spec

AT = datetime(2026, 1, 1, 12, 0, 0, 250_000, UTC)
SENT = AT + timedelta(seconds=1.4)
TARGET = LoggerSpec(
    "http://b", "all", "m", "default", "predictor", "", ("X-Request-Id",), {"coding-mcqa/model-version": "7"}
)


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (AT, "2026-01-01T12:00:00.25Z"),
        (AT.replace(microsecond=0), "2026-01-01T12:00:00Z"),
        (AT.replace(microsecond=7), "2026-01-01T12:00:00.000007Z"),
        (AT.astimezone(timezone(timedelta(hours=2))), "2026-01-01T12:00:00.25Z"),
    ],
)
def test_times_are_written_as_go_writes_them(at: Any, text: Any) -> None:
    assert rfc3339_nano(at) == text
    assert datetime.fromisoformat(text) == at


def test_the_headers_of_an_event() -> None:
    assert event_headers(PayloadEvent(TARGET, INFERENCE_REQUEST, "i", "application/json", {}, b"{}", AT), SENT) == {
        "ce-specversion": "1.0",
        "ce-id": "i",
        "ce-source": "http://localhost:9081/",
        "ce-type": "org.kubeflow.serving.inference.request",
        "ce-time": "2026-01-01T12:00:00.25Z",
        "ce-recordedtime": "2026-01-01T12:00:01.65Z",
        "ce-inferenceservicename": "m",
        "ce-namespace": "default",
        "ce-component": "predictor",
        "ce-endpoint": "",
        "ce-metadata": "{}",
        "ce-annotations": '{"coding-mcqa/model-version":"7"}',
        "content-type": "application/json",
    }
    bare = event_headers(PayloadEvent(TARGET, INFERENCE_REQUEST, "i", "", {}, b"", AT), SENT)
    assert "content-type" not in bare, "a GET has no body and no type"


@pytest.mark.parametrize(
    ("wanted", "sent", "found"),
    [
        (("X-Request-Id",), [("x-request-id", "1")], {"X-Request-Id": ["1"]}),
        (("X-Request-Id",), [("X-REQUEST-ID", "1"), ("x-request-id", "2")], {"X-Request-Id": ["1", "2"]}),
        (("x-request-id",), [("x-request-id", "1")], {}),  # the agent compares with Go's canonical name
        ((), [("X-Request-Id", "1")], {}),
    ],
)
def test_logged_headers(wanted: Any, sent: Any, found: Any) -> None:
    target = LoggerSpec("http://b", "all", "m", "default", "predictor", "", wanted, {})
    assert logged_headers(target, sent) == found


@pytest.mark.parametrize(
    ("mode", "types"),
    [
        ("all", {INFERENCE_REQUEST, INFERENCE_RESPONSE}),
        ("request", {INFERENCE_REQUEST}),
        ("response", {INFERENCE_RESPONSE}),
    ],
)
def test_the_mode_of_the_logger(mode: Any, types: Any) -> None:
    logger = "internal.serving.kserve.io/logger"
    annotations = {logger: "true", logger + "-mode": mode, logger + "-sink-url": "http://b"}
    target = logger_spec({"metadata": {"namespace": "default", "annotations": annotations}})
    assert target is not None
    assert {type for type in (INFERENCE_REQUEST, INFERENCE_RESPONSE) if target.wants(type)} == types


BODIES = {
    INFERENCE_REQUEST: b'{"instances": [{"question": "1 + 1?", "choices": ["1", "2"]}]}',
    INFERENCE_RESPONSE: b'{"predictions": [{"letter": "B"}], "model_version": "7"}',
}


@pytest.mark.parametrize(("type", "facts"), [(INFERENCE_REQUEST, RequestEvent), (INFERENCE_RESPONSE, ResponseEvent)])
@pytest.mark.parametrize(
    "time", ["2026-01-01T12:00:00.25Z", "2026-01-01T12:00:00.250000123Z", "2026-01-01T12:00:00.2500001Z"]
)
def test_collect_takes_the_time_of_the_exchange_not_that_of_its_sending(type: Any, facts: Any, time: Any) -> None:
    """Under load the agent's queue sends a request and its response together, a second late."""
    extensions = {"recordedtime": "2026-01-01T12:00:01.65Z", "annotations": '{"coding-mcqa/model-version":"7"}'}
    extensions |= {"endpoint": "", "metadata": "{}"}
    event = Event("i", "http://localhost:9081/", type, time, None, "application/json", extensions, BODIES[type])
    parsed = parse_event(event, AT.timestamp() + 2)
    assert isinstance(parsed, facts)
    assert (parsed.version, parsed.times.at) == ("7", pytest.approx(AT.timestamp(), abs=1e-5))


@pytest.mark.parametrize(
    ("type", "body"), [(INFERENCE_REQUEST, b""), (INFERENCE_RESPONSE, b'{"name": "m", "ready": true}')]
)
def test_collect_leaves_out_what_a_get_logged(type: Any, body: Any) -> None:
    event = Event("i", "http://localhost:9081/", type, rfc3339_nano(AT), None, None, {"endpoint": ""}, body)
    with pytest.raises(NoInferenceError):
        parse_event(event, AT.timestamp() + 2)


@pytest.mark.parametrize(
    ("statuses", "lost"), [((503, 507, 202), 0), ((503, 0, 202), 0), ((400,), 1), ((404, 202), 1), ((202,), 0)]
)
async def test_an_event_waits_for_a_sink_that_cannot_take_it(statuses: Any, lost: Any, processes: None) -> None:
    """0 is a connection that is closed without an answer. What is refused for good is lost at once."""
    seen: list[str] = []

    async def take(request: web.Request) -> web.Response:
        seen.append(request.headers["ce-id"])
        status = statuses[min(len(seen), len(statuses)) - 1]
        if not status:
            assert request.transport is not None
            request.transport.close()
        return web.Response(status=status or 200)

    app = web.Application()
    app.router.add_post("/sink", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    target = LoggerSpec(f"http://127.0.0.1:{port}/sink", "all", "s", "n", "predictor", "", (), {})
    try:
        async with aiohttp.ClientSession() as session:
            logger = PayloadLogger(session, lambda url: (url, ""))
            logger.send(
                PayloadEvent(target, INFERENCE_RESPONSE, "one", "application/json", {}, b"{}", datetime.now(UTC))
            )
            await logger.close(grace=20.0)
        assert (logger.dropped, set(seen)) == (lost, {"one"})
        assert len(seen) == (1 if lost else len(statuses))
    finally:
        await runner.cleanup()
