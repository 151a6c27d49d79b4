"""Makes stdout and stderr accept every character: where a terminal has no UTF-8, each gets a plain substitute.

The substitutes are one column wide, so that tables stay aligned.
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
    """Makes both streams write any text: a character that they cannot encode becomes its substitute."""
    codecs.register_error("plain", _substitute)
    for stream in (sys.stdout, sys.stderr):
        if stream is None:  # closed by the parent process
            continue
        # Python treats the C locale as UTF-8, which is right for a file or a pipe but not for a terminal.
        ascii_only = stream.isatty() and is_c_locale(_initial_environ())
        _reconfigure(stream, errors="plain", **({"encoding": "ascii"} if ascii_only else {}))


def is_c_locale(environ: Mapping[str, str]) -> bool:
    """Whether the locale is C by name, not merely unset as in most containers."""
    if any(environ.get(name) for name in _EXPLICIT):
        return False
    locale = next((environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environ.get(name)), "")
    return locale in ("C", "POSIX")


def _initial_environ() -> Mapping[str, str]:
    """The environment that the process was started with: Python itself sets LC_CTYPE in the C locale (PEP 538)."""
    try:
        pairs = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return os.environ
    return dict(os.fsdecode(pair).split("=", 1) for pair in pairs if b"=" in pair)


def can_encode(text: str, stream: TextIO | None) -> bool:
    """Whether the stream can write the text as it is."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def finish(code: int) -> int:
    """Flushes both streams and abandons one that cannot be written; returns the exit code, which reports that."""
    from mcqa import error_reporting

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
                error_reporting.report(f"cannot write the output: {error.strerror}")
        except ValueError:  # closed
            continue
        else:
            continue
        abandon(stream)
    return code


def _substitute(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(_plain(character, error.encoding) for character in characters), error.end


def _plain(character: str, encoding: str) -> str:
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


def abandon(stream: TextIO | None) -> None:
    """Discards what is still in its buffer: the interpreter would otherwise report at exit that it cannot write it."""
    if stream is not None:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, stream.fileno())
        os.close(devnull)
