"""What a subscriber's response contains."""

from __future__ import annotations

from broker_events import EVENT

from local.broker.replies import InvalidReply, NoReply, Reply, parse_reply


def test_replies() -> None:
    binary = [(f"ce-{name}".encode(), str(value).encode()) for name, value in EVENT.attributes.items()]
    reply = parse_reply(binary, b"")
    assert isinstance(reply, Reply)
    assert reply.event.type == EVENT.type
    assert parse_reply([], b"") == NoReply()
    assert parse_reply([(b"content-type", b"text/plain")], b"") == NoReply()
    assert isinstance(parse_reply([(b"content-type", b"application/json")], b"{}"), InvalidReply)
    assert isinstance(parse_reply(binary[1:], b"OK"), InvalidReply)
