"""stdout and stderr that take every character: where a terminal has no UTF-8, each has a plain one in its place.

The stand-ins are one column wide, so that tables stay straight.
"""

from __future__ import annotations

import codecs
import os
import sys
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

PLAIN = {
    **dict.fromkeys("─━╌╴╶═╸╺", "-"),
    **dict.fromkeys("│┃║", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰┏┓┗┛┡┩╇╈╔╗╚╝╞╡╪", "+"),
    **dict.fromkeys("█▉▊▋▌━", "#"),
    **dict.fromkeys("▍▎▏", " "),
    **dict.fromkeys("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "*"),
    **dict.fromkeys("·•", "-"),
    **dict.fromkeys("–—−", "-"),
    **dict.fromkeys("“”„", '"'),
    **dict.fromkeys("‘’", "'"),
    "✓": "+",
    "✗": "x",
    "▶": ">",
    "→": ">",
    "×": "x",
    "…": "~",
}
_EXPLICIT = ("PYTHONIOENCODING", "PYTHONUTF8")


def prepare() -> None:
    """Makes both streams write what they can of every text, and no exception of the rest."""
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if stream is None:  # closed by whoever started us
            continue
        # Python takes the C locale for UTF-8, which is right for a file or a pipe; a terminal was told otherwise.
        ascii_only = stream.isatty() and says_plain(_given())
        _reconfigure(stream, errors="plain", **({"encoding": "ascii"} if ascii_only else {}))


def says_plain(environ: Mapping[str, str]) -> bool:
    """Whether the locale is C by name, not merely unset as in most containers."""
    if any(environ.get(name) for name in _EXPLICIT):
        return False
    chosen = next((environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environ.get(name)), "")
    return chosen in ("C", "POSIX")


def _given() -> Mapping[str, str]:
    """The environment as it was given to us: Python itself sets LC_CTYPE where it finds the C locale (PEP 538)."""
    try:
        pairs = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return os.environ
    return dict(os.fsdecode(pair).split("=", 1) for pair in pairs if b"=" in pair)


def holds(text: str, stream: TextIO | None) -> bool:
    """Whether the stream can write the text as it is."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def finish(code: int) -> int:
    """Writes what is left, and lets go of streams that take no more; the exit code, which tells of it."""
    from mcqa import failures

    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except BrokenPipeError:
            code = code or 141
        except OSError as error:
            code = code or 1
            if stream is sys.stdout:
                failures.told(f"cannot write the output: {error.strerror}")
        except ValueError:  # closed
            continue
        else:
            continue
        let_go(stream)
    return code


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    return "".join(_stand_in(one, error.encoding) for one in found), error.end


def _stand_in(character: str, encoding: str) -> str:
    if character in PLAIN:
        return PLAIN[character]
    for text in (unicodedata.normalize("NFKD", character)[:1], "?"):
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            continue
        if text.isprintable() and text:
            return text
    return "?"


def _reconfigure(stream: Any, **values: str) -> None:
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(**values)


def let_go(stream: TextIO | None) -> None:
    """What is still in its buffer goes away silently: the interpreter would say at its end that it cannot write it."""
    if stream is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
