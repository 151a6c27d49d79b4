"""Registers a component from the JavaScript and the style beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

FOLDER = Path(__file__).parent


def component(name: str) -> Any:
    """The mounting command of `<name>.js` and `<name>.css`, which Streamlit inserts as they are: only our own text."""
    script, style = FOLDER / f"{name}.js", FOLDER / f"{name}.css"
    css = style.read_text("utf-8") if style.exists() else None
    return st.components.v2.component(
        f"coding_mcqa_{name}", js=script.read_text("utf-8"), css=css, isolate_styles=False
    )
