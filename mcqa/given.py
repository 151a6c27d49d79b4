"""Files that people give: read within bounds, as the text that their writer meant, or refused in one line."""

from __future__ import annotations

import codecs
import os
import re
import select
import stat
import sys
import time
from pathlib import Path

from mcqa.errors import CommandError
from predictor.storage.download import format_bytes

MAX_CODE = 2**20
MAX_QUESTIONS = 2**28
PIPE_SECONDS = 10.0
"""For the first byte of a named pipe: one that nobody ever writes to would be waited for in silence."""
CHUNK = 2**20

MARKS = (  # the longer ones first: that of UTF-32 begins like that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# PEP 263: a comment in one of the first two lines.
_DECLARED = re.compile(rb"\A(?:[ \t\f]*#[^\n]*\n|[ \t\f\r]*\n)?[ \t\f]*#[^\n]*?coding[:=][ \t]*([-\w.]+)")


def code(path: Path) -> str:
    """A source file, in the encoding that it declares as Python's do, else UTF-8."""
    data = _read(path, MAX_CODE)
    found = None if _marked(data) else _DECLARED.match(data)
    return decoded(data, str(path), found.group(1).decode("ascii", "replace") if found else None, code=True)


def questions(name: str) -> str:
    """A file of questions; `-` is stdin."""
    if name != "-":
        return decoded(_read(Path(name), MAX_QUESTIONS), name)
    if sys.stdin is None:
        raise CommandError("cannot read stdin: it is closed")
    data = sys.stdin.buffer.read(MAX_QUESTIONS + 1)
    return decoded(_bounded(data, "stdin", MAX_QUESTIONS), "stdin")


def decoded(data: bytes, where: str, encoding: str | None = None, *, code: bool = False) -> str:
    """The text with \\n line ends and without its byte order mark; CommandError where it is none."""
    mark, marked = _marked(data) or (b"", encoding)
    try:
        text = data[len(mark) :].decode(marked or "utf-8")
    except LookupError:
        raise CommandError(f"{where} declares an unknown encoding, {marked}") from None
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = data.count(b"\n", 0, start) + 1
        also = ", or declare its encoding in its first line, like `# coding: latin-1`" if code and not marked else ""
        raise CommandError(
            f"{where}, line {line}: byte {start} is not {(marked or 'utf-8').upper()}: save the file as UTF-8{also}"
        ) from None
    if "\0" in text:
        raise CommandError(f"{where} is no text: it holds zero bytes")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _marked(data: bytes) -> tuple[bytes, str] | None:
    return next(((mark, name) for mark, name in MARKS if data.startswith(mark)), None)


def _read(path: Path, most: int) -> bytes:
    try:
        # Not blocking: opening a named pipe would wait for a writer, however long.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb", buffering=0) as file:
            mode = os.fstat(handle).st_mode
            if stat.S_ISDIR(mode):
                raise CommandError(f"cannot read {path}: it is a folder")
            data = file.read(most + 1) or b"" if stat.S_ISREG(mode) else _awaited(handle, path, most, mode)
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:  # a zero byte in the name
        raise CommandError(f"cannot read {str(path)!r}: {error}") from None
    return _bounded(data, str(path), most)


def _awaited(handle: int, path: Path, most: int, mode: int) -> bytes:
    """What comes out of a pipe or a device until its end."""
    parts: list[bytes] = []
    size, deadline = 0, time.monotonic() + PIPE_SECONDS
    while size <= most:
        try:
            part = os.read(handle, CHUNK)
        except BlockingIOError:
            select.select([handle], [], [], 1.0)
            continue
        if part:
            parts.append(part)
            size += len(part)
        elif parts or not stat.S_ISFIFO(mode):
            break
        elif time.monotonic() > deadline:  # without a writer, a pipe that was opened so is at its end at once
            raise CommandError(f"cannot read {path}: nobody wrote to this pipe within {PIPE_SECONDS:.0f} s")
        else:
            time.sleep(0.02)
    return b"".join(parts)


def _bounded(data: bytes, where: str, most: int) -> bytes:
    if len(data) > most:
        raise CommandError(f"{where} is too large: at most {format_bytes(most)}")
    return data
