"""Parts of a page that update by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

SECONDS = 5.0


def live(seconds: float = SECONDS) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a function that renders: it is run again every `seconds`, without the rest of the page."""
    return st.fragment(run_every=seconds)
