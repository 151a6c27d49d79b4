"""Says in the browser how old the page is, even when its server is gone."""

from __future__ import annotations

import time

from ui.elements.component import component
from ui.language import language, t

_freshness = component("freshness")


def freshness(expect: float, *, key: str = "freshness") -> None:
    """To be shown every `expect` seconds: the browser marks the page as stale when it was not for three times that."""
    _freshness(
        data={
            "lang": language(),
            "at": time.time(),
            "limit": 3 * expect + 3,
            "fresh": t("app.fresh"),
            "stale": t("app.stale"),
            "title": t("app.title"),
        },
        key=key,
    )
