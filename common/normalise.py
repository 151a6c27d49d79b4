"""One normal form for texts that differ only in white space and Unicode that a reader cannot see.

The model reads bytes, a person reads text: a space after a choice, a carriage return, a no-break space or a decomposed
é change the model's tokens, but not the meaning. The prompt, the check for duplicates and the keys by which questions
are counted and split all use these functions; an answer repeats the sender's own text.

Kept is what a reader can see or a program can distinguish: the relative indentation of a line, and every space inside a
line of code or of a choice, where it may be part of a string literal or of printed output. All functions are idempotent
and take linear time.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata

# The space separators (general category Zs): no-break, narrow, figure, ideographic and the others, each one space.
_SPACES = "\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u202f\u205f\u3000"
# Invisible and without meaning: soft hyphen, zero-width space and its like, direction marks (Pattern_White_Space
# as line ends are), invisible operators, the byte order mark. Embeddings and overrides are visible: they are kept.
_INVISIBLE = "\xad\u180e\u200b\u200e\u200f\u2060\u2061\u2062\u2063\u2064\ufeff"
# Joiners belong between letters of scripts that join, and in emoji: next to ASCII or at a line's end they do nothing.
_JOINERS = "\u200c\u200d"
_BLANK = " \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\u2028\u2029" + _SPACES + _INVISIBLE + _JOINERS

# The line boundaries of Unicode (UTS #18, RL1.6). A form feed on a line of its own does not break a second line.
_BOUNDARY = "(?:\r\n|[\n\r\v\x85\u2028\u2029])"
_LINE_END = re.compile(f"{_BOUNDARY}?\f{_BOUNDARY}?|\r\n|[\r\v\x85\u2028\u2029]")
_SPACE = re.compile(f"[{_SPACES}]")
_UNSEEN = re.compile(f"[{_INVISIBLE}]")
_PLAIN = "\x00-\x7f\x85\u2028\u2029"
_IDLE_JOINERS = re.compile(f"(?<![^{_PLAIN}])[{_JOINERS}]++|(?<![{_JOINERS}])[{_JOINERS}]++(?![^{_PLAIN}])")
# In a line with quotes a run of spaces may be what the question is about; the apostrophe of "What's" is not a quote.
_QUOTE = re.compile("[\"`“”„«»‘]|(?<![^\\W\\d_])['’]|['’](?![^\\W\\d_])")
_RUN = re.compile("[ \t]+")
# UAX #15's Stream-Safe Text Format allows 30 marks on a letter; Python's NFC takes time quadratic in their number.
_TOO_MANY_MARKS = re.compile(rb"[^\x00]{31}")
_SHORT = 1000


def is_blank(text: str) -> bool:
    """Whether a reader would see nothing."""
    return not text.strip(_BLANK)


def normalise_stem(text: str) -> str:
    """Without outer white space and trailing spaces. In a stem of one line without quotes a run of spaces becomes one
    (two after a full stop are a typist's habit); with quotes or several lines it may be code, and runs are kept."""
    stem = _line_ends(_characters(text)).strip(" \t\n")
    return stem if "\n" in stem or _QUOTE.search(stem) else _RUN.sub(" ", stem)


def normalise_code(text: str) -> str:
    """Without trailing spaces, blank lines at either end and the indentation that all lines share."""
    code = _line_ends(_characters(text)).rstrip(" \t\n").lstrip("\n")
    return textwrap.dedent(code) if code[:1] in (" ", "\t") else code


def normalise_choice(text: str) -> str:
    """Like code, because it may be code: a choice of one line only loses its outer white space."""
    return normalise_code(text)


def _characters(text: str) -> str:
    """The same characters for what looks the same: NFC, `\\n`, ASCII spaces, nothing invisible."""
    if text.isascii():
        return _LINE_END.sub("\n", text) if "\r" in text or "\f" in text or "\v" in text else text
    text = _composed(_SPACE.sub(" ", _UNSEEN.sub("", text)))
    if "\u200c" in text or "\u200d" in text:
        text = _composed(_IDLE_JOINERS.sub("", text))
    return _LINE_END.sub("\n", text)


def _line_ends(text: str) -> str:
    if " \n" not in text and "\t\n" not in text:
        return text
    return "\n".join(line.rstrip(" \t") for line in text.split("\n"))


def _composed(text: str) -> str:
    if len(text) > _SHORT and _TOO_MANY_MARKS.search(bytes(map(unicodedata.combining, text))):
        return text
    return unicodedata.normalize("NFC", text)
