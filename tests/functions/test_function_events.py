"""Reading events from requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from common import event_types
from functions.collect.parsing import TYPES
from functions.events import BadEventError, Event, check_key, read_event

BINARY = {"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/s", "Ce-Type": "t"}


def read(headers: dict[str, str], body: bytes = b"") -> Event:
    return read_event(headers.items(), body)


def test_binary_mode_keeps_the_body_and_all_attributes() -> None:
    headers = {**BINARY, "Content-Type": "application/json", "Ce-Time": "2026-01-02T03:04:05Z", "Ce-Subject": "x"}
    event = read({**headers, "Ce-Endpoint": "predict", "Host": "h"}, b'{"a":  1}')
    assert event == Event(
        "1", "/s", "t", "2026-01-02T03:04:05Z", "x", "application/json", {"endpoint": "predict"}, b'{"a":  1}'
    )


@pytest.mark.parametrize(
    ("sent", "read_as"),
    [
        ("plain", "plain"),
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("%7B%22a%22:%20%221%22%7D", '{"a": "1"}'),
        ('{"a":"1"}', '{"a":"1"}'),  # unencoded, as some senders do
        ('"quoted \\"text\\""', 'quoted "text"'),
        ("100%25", "100%"),
        ("100%", "100%"),
        ("%2541", "%41"),  # decoded once
    ],
)
def test_header_values_are_percent_decoded_once(sent: str, read_as: str) -> None:
    assert read({**BINARY, "Ce-Annotations": sent}).extensions["annotations"] == read_as


def test_structured_mode() -> None:
    whole = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "ext": 5, "flag": True}
    headers = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
    event = read(headers, json.dumps({**whole, "data": {"a": "é"}}).encode())
    assert json.loads(event.data) == {"a": "é"}
    assert event.extensions == {"ext": "5", "flag": "true"}
    assert read(headers, json.dumps({**whole, "data_base64": "AP8="}).encode()).data == b"\x00\xff"
    assert read(headers, json.dumps(whole).encode()).data == b""


@pytest.mark.parametrize(
    ("headers", "body", "message"),
    [
        ({}, b"{}", "not a CloudEvent"),
        ({"Content-Type": "application/json"}, b'{"specversion":"1.0"}', "not a CloudEvent"),
        ({**BINARY, "Ce-Id": ""}, b"", "id"),
        ({k: v for k, v in BINARY.items() if k != "Ce-Id"}, b"", "id"),
        ({**BINARY, "Ce-Specversion": "0.3"}, b"", "specversion"),
        ({**BINARY, "Ce-Specversion": "9"}, b"", "not a CloudEvent"),
        ({**BINARY, "Ce-Subject": "%ff"}, b"", "ce-subject: is not UTF-8"),
        ({**BINARY, "Ce-Subject": "a%0Ab"}, b"", "subject: holds a control character"),
        ({"Content-Type": "application/cloudevents+json"}, b"{", "not a CloudEvent"),
        ({"Content-Type": "application/cloudevents+json"}, b"[]", "not a CloudEvent"),
        ({"Content-Type": "application/cloudevents+json"}, b"\xff", "not a CloudEvent"),
        ({"Content-Type": "application/cloudevents+json"}, b'{"specversion":"1.0"}', "not a CloudEvent"),
        (
            {"Content-Type": "application/cloudevents+json"},
            b'{"specversion":"1.0","id":{},"source":"s","type":"t"}',
            "id: must be a string",
        ),
        (
            {"Content-Type": "application/cloudevents+json"},
            b'{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"a"}',
            "not a CloudEvent",
        ),
        ({"Content-Type": "application/cloudevents-batch+json"}, b"[]", "batched"),
    ],
)
def test_what_is_no_event_is_refused_with_the_reason(headers: dict[str, str], body: bytes, message: str) -> None:
    with pytest.raises(BadEventError, match=message):
        read(headers, body)


def test_keys_have_a_limit() -> None:
    check_key(Event("a" * 800, "s", "t"))
    with pytest.raises(BadEventError, match="id: must have at most 800 bytes, found 801"):
        check_key(Event("a" * 801, "s", "t"))


def test_the_triggers_filter_by_the_types_that_the_functions_know() -> None:
    known = {value for name, value in vars(event_types).items() if name.isupper() and isinstance(value, str)}
    actual: dict[str, set[str]] = {}
    for path in sorted((Path(__file__).parents[2] / "knative").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if isinstance(document, dict) and document.get("kind") == "Trigger":
                actual[document["metadata"]["name"]] = set(_exact_types(document["spec"]["filters"]))
    assert actual["collect"] == set(TYPES)
    assert set().union(*actual.values()) <= known


def _exact_types(filters: object) -> list[str]:
    if isinstance(filters, list):
        return [actual for item in filters for actual in _exact_types(item)]
    if isinstance(filters, dict):
        own = [filters["exact"]["type"]] if "type" in filters.get("exact", {}) else []
        return own + [actual for name, item in filters.items() if name != "exact" for actual in _exact_types(item)]
    return []
