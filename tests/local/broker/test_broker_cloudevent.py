"""CloudEvents: validity, the HTTP binding, the JSON format, and the public conformance vectors."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from local.broker.cloudevent import CloudEvent, CloudEventError, validated
from local.broker.http_binding import (
    content_mode,
    decode_value,
    encode_value,
    read_events,
    write_binary,
    write_structured,
)
from local.broker.json_format import read_event, write_event

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "reference" / "cloudevents"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="../shared/reference/cloudevents is absent")
REQUIRED = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


def raw(headers: Any) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in dict(headers).items()]


def test_is_immutable() -> None:
    given_attributes: dict[str, Any] = dict(REQUIRED)
    event = CloudEvent(given_attributes, b"x")
    given_attributes["id"] = "2"
    assert event.id == "1"
    with pytest.raises(TypeError):
        event.attributes["id"] = "2"  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.data = b"y"  # type: ignore[misc]
    assert event.with_attributes(x=1).attributes == {**REQUIRED, "x": 1}
    assert event.with_attributes(x=1).without_attributes("x") == event


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"id": None}, "id: is required and missing"),
        ({"id": 5}, "id: must be a string, found 5"),
        ({"source": "http://x/%zz"}, "source: must be a URI reference (RFC 3986), found 'http://x/%zz'"),
        ({"dataschema": "relative"}, "dataschema: must be an absolute URI (RFC 3986), found 'relative'"),
        ({"subject": ""}, "subject: must not be empty"),
        ({"subject": "a\nb"}, "subject: contains the character U+000A, which is not allowed"),
        ({"subject": "\ud800"}, "subject: contains the character U+D800, which is not allowed"),
        ({"Upper": "x"}, "'Upper': an attribute's name may only contain a-z and 0-9"),
        ({"data": "x"}, "data: is the payload and cannot be an attribute"),
        ({"n": 2**31}, "n: must be a 32-bit integer, found 2147483648"),
        ({"n": [1]}, "n: must be a string, an integer or a boolean, found [1]"),
        ({"datacontenttype": "text"}, "datacontenttype: must be a media type such as application/json, found 'text'"),
        ({"datacontenttype": "text/x; a=\r\nb"}, "datacontenttype: contains the character U+000D"),
    ],
)
def test_invalid(attributes: dict[str, Any], message: str) -> None:
    merged = {k: v for k, v in {**REQUIRED, **attributes}.items() if v is not None}
    with pytest.raises(CloudEventError, match="^" + re.escape(message)):
        validated(merged)


@pytest.mark.parametrize(
    "source", ["https://github.com/cloudevents", "mailto:a@b.org", "urn:uuid:6e8b", "1-555-123-4567", "/a?b#c"]
)
def test_valid_sources(source: str) -> None:
    assert validated({**REQUIRED, "source": source}).source == source


def test_a_time_is_an_rfc_3339_date_time() -> None:
    """Which texts are one: tests/common/test_rfc3339.py."""
    assert validated({**REQUIRED, "time": "2016-12-31t15:59:60.5-08:00"}).text("time") == "2016-12-31t15:59:60.5-08:00"
    with pytest.raises(CloudEventError, match=r"time: must be a timestamp such as .*, found '2018-04-05 17:31:00Z'"):
        validated({**REQUIRED, "time": "2018-04-05 17:31:00Z"})


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
        ('{"a":"b"}', "{%22a%22:%22b%22}"),
        ("100%", "100%25"),
        ("plain-~text!/", "plain-~text!/"),
    ],
)
def test_header_values(text: str, header: str) -> None:
    assert encode_value(text) == header
    assert decode_value(header.encode()) == text


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (b"%e2%82%ac", "€"),
        (b"%61", "a"),
        (b'"Euro \\"\xe2\x82\xac\\" x"', 'Euro "€" x'),
        (b'"a%20b"', "a b"),
        ("raw € text".encode(), "raw € text"),
        (b'{"a":"b"}', '{"a":"b"}'),  # sdk-go, and so the payload logger, does not encode
        (b'say "hi"', 'say "hi"'),
        (b"50% off", "50% off"),
        (b"%2520", "%20"),
    ],
)
def test_header_values_of_other_senders(header: bytes, text: str) -> None:
    assert decode_value(header) == text


@pytest.mark.parametrize("header", [b"%C0%A0", b"%FF", b"\xff"])
def test_header_values_that_are_not_utf8(header: bytes) -> None:
    with pytest.raises(CloudEventError, match="not UTF-8"):
        decode_value(header)


@settings(derandomize=True)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_header_values_survive(text: str) -> None:
    encoded = encode_value(text)
    assert re.fullmatch(r"[!#$&-~%]*", encoded)
    assert decode_value(encoded.encode()) == text


@pytest.mark.parametrize(
    ("headers", "mode"),
    [
        ({"content-type": "application/cloudevents+json"}, "structured"),
        ({"content-type": " Application/CloudEvents+JSON; charset=utf-8"}, "structured"),
        ({"content-type": "application/cloudevents-batch+json"}, "batched"),
        ({"content-type": "application/json", "ce-specversion": "1.0"}, "binary"),
        ({"content-type": "application/json"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_modes(headers: dict[str, str], mode: str) -> None:
    assert content_mode(raw(headers)) == mode


@pytest.mark.parametrize(
    ("members", "data", "kind"),
    [
        ('"data":{"b":1.0, "a":1e400}', b'{"b":1.0, "a":1e400}', "application/json"),
        ('"data":null', b"null", "application/json"),
        ('"data":"text"', b'"text"', "application/json"),
        ('"data":"text","datacontenttype":"text/plain"', b"text", "text/plain"),
        (
            '"data":"\\u00e9","datacontenttype":"text/plain;charset=iso-8859-1"',
            b"\xe9",
            "text/plain;charset=iso-8859-1",
        ),
        ('"data":["x"],"datacontenttype":"application/vnd.x+json"', b'["x"]', "application/vnd.x+json"),
        ('"data_base64":"AP8="', b"\x00\xff", None),
        ('"data_base64":null', None, None),
        ('"datacontenttype":null', None, None),
    ],
)
def test_json_payloads(members: str, data: bytes | None, kind: str | None) -> None:
    event = read_event(f"{json.dumps(REQUIRED)[:-1]},{members}}}".encode())
    assert (event.data, event.datacontenttype) == (data, kind)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}x",
        b'{"id":}',
        b'{"id":1,"id":2}',
        b"\xff",
        b'{"x":NaN}',
        b'{"x":1.5}',
        b"[" * 100000,
        b'{"a":' * 100000,
    ],
)
def test_json_that_is_no_event(body: bytes) -> None:
    with pytest.raises(CloudEventError):
        read_event(body)


@pytest.mark.parametrize(
    ("kind", "data", "member"),
    [
        ("application/json", b'{"a": 1.0}', '"data":{"a": 1.0}'),
        ("application/json", b"not json", '"data_base64":"bm90IGpzb24="'),
        ("text/plain", "é".encode(), '"data":"é"'),
        ("text/plain", b"\xff", '"data_base64":"/w=="'),
        ("image/png", b"png", '"data_base64":"cG5n"'),
        (None, b"raw", '"data_base64":"cmF3"'),
    ],
)
def test_json_written(kind: str | None, data: bytes, member: str) -> None:
    attributes = {**REQUIRED, **({"datacontenttype": kind} if kind else {})}
    written = write_event(CloudEvent(attributes, data))
    assert member in written.decode()
    assert read_event(written) == CloudEvent(attributes, data)


attribute_text = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs", "Cc", "Cn"]), min_size=1)
events = st.builds(
    lambda id, extensions, data, kind: CloudEvent(
        {**REQUIRED, "id": id, **extensions, **({"datacontenttype": kind} if kind else {})}, data
    ),
    attribute_text,
    st.dictionaries(st.from_regex("x[a-z0-9]{1,10}", fullmatch=True), attribute_text, max_size=3),
    st.none() | st.binary(min_size=1, max_size=50),
    st.sampled_from([None, "application/json", "text/plain", "image/png"]),
)


@settings(derandomize=True)
@given(events)
def test_events_survive_both_modes(event: CloudEvent) -> None:
    for write in (write_binary, write_structured):
        headers, body = write(event)
        assert read_events(raw(headers), body) == [event]


@needs_reference
@pytest.mark.parametrize("scenario", [0, 1], ids=["binary", "structured"])
def test_http_conformance_feature(scenario: int) -> None:
    text = (REFERENCE / "http-protocol-binding.feature").read_text()
    outline = text.split("Scenario Outline:")[1:][scenario]
    request, expected = re.findall(r'"""\n(.*?)"""', outline, re.DOTALL)
    head, _, body = "\n".join(line.strip() for line in request.strip().splitlines()).partition("\n\n")
    examples = [row.strip(" |") for row in outline.split("Examples:")[1].splitlines() if row.strip()][1:]
    assert examples
    for example in examples:
        lines = head.replace("<contentType>", example).splitlines()[1:]
        (event,) = read_events(raw([line.split(": ", 1) for line in lines]), body.encode())
        table = dict(re.findall(r"\|\s*(\w+)\s*\|\s*(\S.*?)\s*\|", outline.split("Then")[1].split("And the")[0]))
        table.pop("key")
        assert dict(event.attributes) == {k: v.replace("<contentType>", example) for k, v in table.items()}
        assert json.loads(event.data or b"") == json.loads(expected)


@needs_reference
def test_conformance_events_pass_and_match_the_json_schema() -> None:
    import jsonschema

    schema = json.loads((REFERENCE / "cloudevents.schema.json").read_text())
    documents = list(yaml.safe_load_all((REFERENCE / "v1_minimum.yaml").read_text()))
    assert len(documents) == 6
    for document in documents:
        attributes = {name: str(value) for name, value in document["ContextAttributes"].items()}
        kind = attributes.pop("datacontenttype")
        headers = {f"ce-{name}": value for name, value in attributes.items()} | {"content-type": kind}
        (event,) = read_events(raw(headers), document["Data"].encode())
        _, written = write_structured(event)
        jsonschema.validate(json.loads(written), schema)
        assert read_event(written).with_attributes(datacontenttype=kind).attributes == event.attributes
        assert read_event(written).data is not None
