"""Tables, sentences, notices and lists of facts: one component that builds what it is given as data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Literal

from streamlit.errors import StreamlitDuplicateElementKey

from ui.elements.cells import Cell, as_data
from ui.elements.component import component
from ui.language import language, t

Kind = Literal["info", "success", "warning", "error"]

_view = component("view")


def table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    empty: str = "",
    numeric: Sequence[int] = (),
    hide_caption: bool = False,
    stack: bool = False,
    key: str | None = None,
) -> None:
    """`columns` are headings, the first column names the row; `numeric` columns (from 0) are aligned to the right.

    `empty` is shown instead of a table without rows. `stack`: where there is no width for it, as on a phone, a row's
    cells are below each other, each with its heading; other tables scroll.
    """
    if not rows and empty:
        paragraph(empty, key=key)
        return
    _show(
        {
            "t": "table",
            "caption": caption,
            "hide": hide_caption,
            "stack": stack,
            "columns": list(columns),
            "numeric": list(numeric),
            "rows": [[as_data(cell) for cell in row] for row in rows],
        },
        key,
    )


def paragraph(*parts: Cell, key: str | None = None) -> None:
    _show({"t": "p", "parts": [as_data(part) for part in parts]}, key)


def heading(level: Literal[1, 2, 3], text: str, *, key: str | None = None) -> None:
    """A heading whose text is not the catalogue's."""
    _show({"t": "h", "level": level, "text": text}, key)


def notice(kind: Kind, *parts: Cell, key: str | None = None) -> None:
    """A framed sentence; an error is read out at once."""
    _show({"t": "notice", "kind": kind, "word": t(f"app.kind.{kind}"), "parts": [as_data(part) for part in parts]}, key)


def details(facts: Mapping[str, Cell], *, key: str | None = None) -> None:
    """Names and their values, as a description list."""
    _show({"t": "dl", "items": [[name, as_data(value)] for name, value in facts.items()]}, key)


def _show(node: dict[str, Any], key: str | None) -> None:
    data = {"lang": language(), "node": node}
    if key is not None:
        _view(data=data, key=key)
        return
    digest = hashlib.sha256(json.dumps(node, sort_keys=True).encode()).hexdigest()[:16]
    for number in count():  # the same sentence may be shown several times, as where one part is missing to several
        try:
            _view(data=data, key=f"{digest} {number}")
        except StreamlitDuplicateElementKey:
            continue
        return
