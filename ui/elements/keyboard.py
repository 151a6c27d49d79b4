"""For who works without a pointer: Ctrl+Enter asks, and the answer gets the focus."""

from __future__ import annotations

from ui.elements.component import component

_keyboard = component("keyboard")


def keyboard(fields: str, button: str, target: str, arrived: str | None, *, key: str) -> None:
    """Ctrl+Enter in a field within `fields` presses `button`; `target` gets the focus once for each id `arrived`.

    All three are CSS selectors of our own containers. Whoever types is left alone.
    """
    _keyboard(data={"fields": fields, "button": button, "target": target, "arrived": arrived}, key=key)
