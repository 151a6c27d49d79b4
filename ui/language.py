"""The page's texts: English and Vietnamese, from the catalogue in `texts/`.

A text is named `file.key`. It is a format string; a parameter may be an element (a time, a link), which `parts` keeps.
"""

from __future__ import annotations

import string
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

LANGUAGES = {"en": "English", "vi": "Tiếng Việt"}
FOLDER = Path(__file__).parent / "texts"
_STATE = "language"


@cache
def catalogue() -> dict[str, dict[str, str]]:
    """Every text by `file.key`, each a dict by language."""
    texts: dict[str, dict[str, str]] = {}
    for file in sorted(FOLDER.glob("*.toml")):
        for key, entry in _flatten(tomllib.loads(file.read_text("utf-8")), file.stem):
            texts[key] = entry
    return texts


def _flatten(table: Mapping[str, Any], prefix: str) -> list[tuple[str, dict[str, str]]]:
    """Tables may be nested: an entry is one whose values are texts."""
    found: list[tuple[str, dict[str, str]]] = []
    for key, value in table.items():
        if all(isinstance(text, str) for text in value.values()):
            found.append((f"{prefix}.{key}", dict(value)))
        else:
            found += _flatten(value, f"{prefix}.{key}")
    return found


def language() -> str:
    """The viewer's: what the switch says, else the address (`?lang=vi`), else the browser's."""
    if (chosen := st.session_state.get(_STATE)) in LANGUAGES:
        return str(chosen)
    if (named := st.query_params.get("lang")) in LANGUAGES:
        return str(named)
    preferred = (st.context.locale or "en").split("-")[0].lower()
    return preferred if preferred in LANGUAGES else "en"


def choose(code: str) -> None:
    st.session_state[_STATE] = code


def has(key: str) -> bool:
    return key in catalogue()


def t(key: str, **params: Any) -> str:
    """A text in the viewer's language. KeyError for a key that the catalogue lacks."""
    return template(key).format(**{name: _plain(value) for name, value in params.items()})


def template(key: str) -> str:
    entry = catalogue()[key]
    return entry.get(language()) or entry["en"]


def parts(key: str, **params: Any) -> list[Any]:
    """A text cut at its parameters, which stay what they are: for `elements.paragraph` and `elements.notice`."""
    pieces: list[Any] = []
    for literal, name, spec, _ in string.Formatter().parse(template(key)):
        if literal:
            pieces.append(literal)
        if name is not None:
            value = params[name]
            pieces.append(format(value, spec or "") if isinstance(value, int | float | str) else value)
    return pieces


def count(key: str, number: int, **params: Any) -> str:
    """A text with a number: the key's `one` or `other` (Vietnamese has no plural: both may be the same)."""
    return t(f"{key}.{'one' if number == 1 else 'other'}", n=number, **params)


def percent(share: float | None, digits: int = 1) -> str:
    """0.123 as 12.3%, or 12,3% in Vietnamese; — for None."""
    return "—" if share is None else _decimal(f"{100 * share:.{digits}f}") + "%"


def number(value: float | None, digits: int = 0) -> str:
    """With separators for thousands; — for None."""
    return "—" if value is None else _decimal(f"{value:,.{digits}f}")


def size(bytes_: int | None) -> str:
    """1234567 as 1.2 MB; — for None."""
    if bytes_ is None:
        return "—"
    value, unit = float(bytes_), "B"
    for larger in ("kB", "MB", "GB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{number(value, 0 if unit == 'B' else 1)} {unit}"


def duration(seconds: float | None) -> str:
    """Rounded to the two largest units: 2 h 5 min."""
    if seconds is None:
        return "—"
    left = max(round(seconds), 0)
    days, left = divmod(left, 86400)
    hours, left = divmod(left, 3600)
    minutes, rest = divmod(left, 60)
    units = [(days, "app.days"), (hours, "app.hours"), (minutes, "app.minutes"), (rest, "app.seconds")]
    first = next((place for place, (amount, _) in enumerate(units) if amount), len(units) - 1)
    return " ".join(t(key, n=amount) for amount, key in units[first : first + 2] if amount or first == len(units) - 1)


def _decimal(text: str) -> str:
    return text.translate(str.maketrans(",.", ".,")) if language() == "vi" else text


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str) else str(value)
