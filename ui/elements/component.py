"""Registers a component from the JavaScript and the style beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

FOLDER = Path(__file__).parent


def component(name: str) -> Any:
    """The mounting command of `<name>.js` and `<name>.css`, which Streamlit inserts as they are: only our own text."""
    script, style = FOLDER / f"{name}.js", FOLDER / f"{name}.css"
    return st.components.v2.component(
        f"coding_mcqa_{name}", js=script.read_text("utf-8"), css=style.read_text("utf-8"), isolate_styles=False
    )
