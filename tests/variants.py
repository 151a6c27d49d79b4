"""The same question in other white space: edits that no reader sees, for property tests."""

from __future__ import annotations

import unicodedata
from typing import Any

from hypothesis import strategies as st

LINE_ENDS = ["\n", "\r\n", "\r", "\v", "\f", "\x85", "\u2028", "\u2029"]
SPACES = [" ", "\xa0", "\u1680", "\u2002", "\u2003", "\u2007", "\u2009", "\u200a", "\u202f", "\u205f", "\u3000"]
INVISIBLE = ["\u200b", "\ufeff", "\u2060", "\xad", "\u200e", "\u200f", "\u2063"]
OUTER = [*LINE_ENDS, *SPACES, *INVISIBLE, "\t"]

QUESTIONS: list[dict[str, Any]] = [
    {"question": "What does this code print?", "code": "n = 'true'\nprint(n.find('e'))", "choices": ["-1", "1", "3"]},
    {"question": "What does it print? Mind the café's accents: naïve, Ångström.", "choices": ["ä", "a", "ö é"]},
    {
        "question": "Which letters are left?\nMind every line.",
        "code": "for x in 'a  b':\n    if x:\n\tprint(x)\n\nprint('  ')",
        "choices": ["a  b", "a b", "if x:\n    y = 'é'\nz", "an error"],
    },
    {
        "question": "数 और فارسی?",
        "choices": ["می\u200cخواهم", "क्\u200dष", "\U0001f468\u200d\U0001f469"],
        "code": "\tx = 1",
    },
]


@st.composite
def variants(draw: st.DrawFn, question: dict[str, Any]) -> dict[str, Any]:
    """`question` with line ends, outer white space, spaces, composition and invisible characters changed anywhere."""
    outer = st.lists(st.sampled_from(OUTER), max_size=3).map("".join)
    stem = _lines(draw, question["question"], trailing=True)
    if "\n" not in question["question"]:
        stem = "".join(c + draw(st.sampled_from(["", " ", "\t"])) if c == " " else c for c in stem)
    made: dict[str, Any] = {"question": draw(outer) + _characters(draw, stem) + draw(outer)}
    made["choices"] = [_choice(draw, choice, outer) for choice in question["choices"]]
    if "code" in question:
        made["code"] = _characters(draw, _block(draw, question["code"]))
    return made


def _choice(draw: st.DrawFn, choice: str, outer: st.SearchStrategy[str]) -> str:
    if "\n" in choice:
        return _characters(draw, _block(draw, choice))
    return draw(outer) + _characters(draw, choice) + draw(outer)


def _block(draw: st.DrawFn, code: str) -> str:
    indent = draw(st.sampled_from(["", "  ", "    ", "\t", "\t "]))
    lines = [indent + line if line else line for line in code.split("\n")]
    blank = st.lists(st.sampled_from(["", " ", "\t ", "    "]), max_size=2)
    return _lines(draw, "\n".join([*draw(blank), *lines, *draw(blank)]), trailing=True)


def _lines(draw: st.DrawFn, text: str, *, trailing: bool) -> str:
    space = st.sampled_from(["", " ", "\t", " \xa0"] if trailing else [""])
    lines = text.split("\n")
    # Beside a blank line, two of these would be one line end: CR and LF, a page break and what is next to it.
    ends = LINE_ENDS if all(lines) else [end for end in LINE_ENDS if end not in "\r\f"]
    return "".join(line + draw(space) + draw(st.sampled_from(ends)) for line in lines[:-1]) + lines[-1] + draw(space)


def _characters(draw: st.DrawFn, text: str) -> str:
    text = unicodedata.normalize(draw(st.sampled_from(["NFC", "NFD"])), text)
    out = []
    for character in text:
        if character == " " and draw(st.booleans()):
            character = draw(st.sampled_from(SPACES))
        out.append(character)
        if draw(st.integers(0, 9)) == 0:
            out.append(draw(st.sampled_from(INVISIBLE)))
    return "".join(out)
