"""Parts of a page that update by themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import streamlit as st

from ui import facts

SECONDS = 5.0


def live(seconds: float = SECONDS) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a function that renders: it is run again every `seconds`, without the rest of the page."""

    def decorate(render: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(render)
        def part(*args: Any, **kwargs: Any) -> Any:
            with facts.live_run():
                return render(*args, **kwargs)

        return st.fragment(run_every=seconds)(part)

    return decorate


@live()
def recovers(missed: Sequence[facts.Missed]) -> None:
    """Runs the whole page again once one of these can be read: what is outside its live parts is read only then."""
    if any(each.again().ok for each in missed):
        st.rerun()
