"""Dead letters from the events that arrive."""

from __future__ import annotations

import base64

import pytest

from functions.dead_letters.parsing import dead_letter, dead_letter_key
from functions.events import Event


def dead(**extensions: str) -> Event:
    return Event("e", "/s", "t", "2026-01-01T00:00:00Z", "x", "text/plain", extensions, b"data")


def test_what_the_broker_added_is_taken_off_the_event() -> None:
    record = dead_letter(
        dead(
            knativeerrordest="http://collect",
            knativeerrorcode="503",
            knativeerrordata=base64.b64encode("voll € ".encode()).decode(),
            knativearrivaltime="2026-01-01T00:00:00Z",
            traceparent="00-a",
        )
    )
    assert record.key == dead_letter_key("/s", "e", "t", "http://collect")
    assert (record.destination, record.code, record.reason, record.data) == ("http://collect", 503, "voll €", b"data")
    assert record.attributes == {
        "id": "e",
        "source": "/s",
        "type": "t",
        "time": "2026-01-01T00:00:00Z",
        "subject": "x",
        "datacontenttype": "text/plain",
        "traceparent": "00-a",
    }


@pytest.mark.parametrize(
    ("extensions", "code", "reason"),
    [
        ({}, None, ""),
        ({"knativeerrorcode": "none", "knativeerrordata": "plain text"}, None, "plain text"),
        ({"knativeerrorcode": "99999999999"}, None, ""),
        ({"knativeerrordata": base64.b64encode(b"a\x00\xff").decode()}, None, "a\ufffd\ufffd"),
    ],
)
def test_odd_extensions_lose_nothing(extensions: dict[str, str], code: int | None, reason: str) -> None:
    record = dead_letter(dead(**extensions))
    assert (record.code, record.reason, record.data) == (code, reason, b"data")


def test_two_destinations_are_two_letters() -> None:
    keys = {dead_letter(dead(knativeerrordest=where)).key for where in ("http://a", "http://b", "http://a")}
    assert len(keys) == 2
