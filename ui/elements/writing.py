"""A text that is shown while it is written."""

from __future__ import annotations

from ui.elements.component import component
from ui.language import language

_writing = component("writing")


def writing(text: str, *, end: str = "", key: str) -> None:
    """The text so far; `end` is empty while it is written, and then what a screen reader says, once.

    A browser keeps the element, with what is selected in it, only where it stays in the same fragment and place.
    """
    _writing(data={"lang": language(), "text": text, "end": end}, key=key)
