"""Server-sent events, cut at every place that a network could cut them."""

from __future__ import annotations

import time

import pytest

from mcqa import event_stream
from mcqa.event_stream import ServerSentEvent, read_events

TEXT = "é 🐍 \u2028 \x85 \x0b e\u0301"  # of these, JSON escapes only the vertical tab
STREAM = (
    f'event: answer\ndata: {{"letter":"B"}}\n\n: still here\n\nevent:text\r\ndata:{TEXT}\r\n\r\n'
    "data: one\ndata: two\nid: 7\nretry: 3\n\nevent: empty\n\n"
).encode()
EVENTS = [
    ServerSentEvent("answer", '{"letter":"B"}'),
    ServerSentEvent(),
    ServerSentEvent("text", TEXT),
    ServerSentEvent("message", "one\ntwo"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_the_same_however_they_arrive(size: int) -> None:
    chunks = [STREAM[i : i + size] for i in range(0, len(STREAM), size)]
    assert list(read_events([b"", *chunks])) == EVENTS


def test_an_event_that_did_not_end_is_none() -> None:
    assert list(read_events([b"event: end\ndata: {}\n"])) == []


@pytest.mark.parametrize(
    "chunks",
    [
        [b"data: \xff\n\n"],
        [b"x" * 13],
        [b"xx"] * 7,
        [b"x" * 13 + b"\n"],
        [b"data:123456\n", b"data:123456\n"],
        [b"data:\n"] * 13,
    ],
    ids=["bytes", "line", "line in pieces", "whole line", "event", "empty lines"],
)
def test_what_is_no_stream_ends_it(chunks: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "MAX_BUFFERED", 12)
    with pytest.raises(ValueError, match=r"too long|codec can't decode"):
        list(read_events([*chunks, b"\n\n"]))


def test_line_ends_of_every_kind_at_every_cut() -> None:
    stream = b"data: a\rdata: b\r\ndata: c\n\r\n\r\rdata: d\r\r"
    events = [ServerSentEvent("message", "a\nb\nc"), ServerSentEvent("message", "d")]
    for cut in range(len(stream) + 1):
        assert list(read_events([stream[:cut], b"", stream[cut:]])) == events, cut


@pytest.mark.parametrize(
    "chunks",
    [[b"data: " + b"x" * 2**21, *[b"x"] * 300_000], [b"data: x\n"] * 100_000, [b"data: x\n" * 200_000]],
    ids=["pieces of a line", "lines", "lines at once"],
)
def test_no_stream_takes_longer_than_its_length(chunks: list[bytes]) -> None:
    began = time.thread_time()
    assert len(list(read_events([*chunks, b"\n\n"]))) == 1
    assert time.thread_time() - began < 5  # ten times what it takes; the square of the length takes minutes
