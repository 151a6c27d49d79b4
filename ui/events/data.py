"""An event's data, as far as it is shown."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from ui import elements
from ui.language import number, t

MAX_DATA = 100_000
"""Characters of an event's data, and of each attribute, that are shown."""


@dataclass(frozen=True, slots=True)
class ShownData:
    """`text` is the data's, or its beginning where it is `cut`: `length` characters arrived. None: so many bytes."""

    text: str | None
    length: int
    cut: bool = False


def with_shown_data(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader returns of a stored event: the `data` that is shown, None for none, apart from the attributes.

    What is read is kept for everybody, and an event has up to 4 MB.
    """
    event = {name: value for name, value in stored["event"].items() if name not in ("data", "data_base64")}
    attributes = {name: value[:MAX_DATA] if isinstance(value, str) else value for name, value in event.items()}
    return {**stored, "event": attributes, "data": _shown(stored["event"])}


def _shown(event: Mapping[str, Any]) -> ShownData | None:
    if "data" in event:
        data = event["data"]
        if not isinstance(data, str):
            return _indented(data)
        text = data
    elif event.get("data_base64"):
        raw = base64.b64decode(event["data_base64"])
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            return ShownData(None, len(raw))
    else:
        return None
    return ShownData(text[:MAX_DATA], len(text), cut=len(text) > MAX_DATA)


def _indented(data: Any) -> ShownData:
    """Never the whole text: deeply nested data, indented, is a thousand times as long as it arrived."""
    kept, room = list[str](), MAX_DATA
    for piece in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(data):
        kept.append(piece)
        room -= len(piece)
        if room < 0:
            return ShownData("".join(kept)[:MAX_DATA], len(json.dumps(data, ensure_ascii=False)), cut=True)
    text = "".join(kept)
    return ShownData(text, len(text))


def show_data(data: ShownData | None) -> None:
    """The data as JSON or text; where it is neither, how long it is."""
    if data is None:
        elements.paragraph(t("events.event.no_data"), key="event no data")
        return
    if data.text is None:
        elements.paragraph(t("events.event.binary", n=number(data.length)), key="event binary")
        return
    # Half of a surrogate pair cannot be sent to a browser.
    st.code(data.text.encode("utf-8", "replace").decode(), language=None, wrap_lines=True)
    if data.cut:
        elements.paragraph(t("events.event.cut", n=number(data.length)), key="event cut")
