"""The pages by the name in their address, in the order of the navigation; each is a module with `render`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial

NAMES = ("ask", "loop", "drift", "rollout", "versions", "pipelines", "events")
UNKNOWN = "unknown"
"""In the address of the first page: the path that was asked for and is not a page."""


def _render(name: str) -> None:
    importlib.import_module(f"ui.pages.{name}").render()


def _page(name: str) -> Callable[[], None]:
    render = partial(_render, name)
    render.__name__ = name  # type: ignore[attr-defined]  # Streamlit tells pages apart by it
    return render


PAGES: dict[str, Callable[[], None]] = {name: _page(name) for name in NAMES}
