"""Messages to their targets through apprise, each target once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from sqlalchemy import Engine, or_, select

from common.errors import UnavailableError
from functions.database import insert_once, transaction
from functions.events import Event
from functions.notify.message import Message
from functions.notify.tables import SentNotice

URLS_VARIABLE = "MCQA_NOTIFY_URLS"
QUIET_SECONDS = 6 * 3600.0
"""For how long another event with the same content is not sent again."""


def targets(environ: Mapping[str, str]) -> list[str]:
    """The apprise URLs of MCQA_NOTIFY_URLS, separated by spaces, commas or line breaks. ValueError for a bad one."""
    # A comma may be part of a URL (two recipients of an e-mail); one before a scheme is not.
    urls = [
        url for url in re.split(r"[\s,]+(?=[a-z][a-z0-9]*://)", environ.get(URLS_VARIABLE, "").strip(" ,\n\t")) if url
    ]
    if urls:
        # Only here: without targets, a cold start does without it.
        from apprise import Apprise

        for place, url in enumerate(urls):
            if Apprise.instantiate(url, suppress_exceptions=True) is None:
                scheme = url.partition(":")[0][:20]  # the rest may hold a password
                raise ValueError(f"{URLS_VARIABLE}: entry {place} ({scheme}://…) is not a URL that apprise knows")
    return urls


def deliver(engine: Engine, event: Event, message: Message, urls: list[str], now: float) -> int:
    """Sends to each target that got neither this event nor recently this content; how many were sent.

    Raises UnavailableError when a target did not take it: the retry sends to that one only. After a crash between
    sending and storing that, it is sent again, because no message may be lost.
    """
    sent, failed = 0, []
    for url in urls:
        target = hashlib.sha256(url.encode()).hexdigest()
        if _known(engine, event, message, target, now):
            continue
        if not _send(url, message):
            failed.append(url.partition(":")[0])
            continue
        with transaction(engine) as connection:
            key = {"source": event.source, "id": event.id, "type": event.type, "target": target}
            notice = {"key": message.key, "title": message.title, "body": message.body, "sent_at": now}
            insert_once(connection, SentNotice, {**key, **notice})
        sent += 1
    if failed:
        raise UnavailableError(f"{len(failed)} of {len(urls)} targets did not take the message: {', '.join(failed)}")
    return sent


def _known(engine: Engine, event: Event, message: Message, target: str, now: float) -> bool:
    same_event = (SentNotice.source == event.source) & (SentNotice.id == event.id) & (SentNotice.type == event.type)
    same_content = (SentNotice.key == message.key) & (SentNotice.sent_at > now - QUIET_SECONDS)
    statement = select(SentNotice.id).where(SentNotice.target == target, or_(same_event, same_content)).limit(1)
    with transaction(engine) as connection:
        return connection.execute(statement).first() is not None


def _send(url: str, message: Message) -> bool:
    from apprise import Apprise

    apprise = Apprise()
    apprise.add(url)
    return bool(apprise.notify(title=message.title, body=message.body, notify_type=message.level))
