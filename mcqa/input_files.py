"""Files that users give: read up to a limit, decoded as their writer meant, or refused on one line."""

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

MAX_CODE_BYTES = 2**20
MAX_QUESTIONS_BYTES = 2**28
PIPE_SECONDS = 10.0
"""For the first byte of a named pipe; without a limit, one that nobody writes to would hang silently."""
CHUNK = 2**20

BYTE_ORDER_MARKS = (  # the longer ones first: UTF-32's begins like UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# PEP 263: a comment in one of the first two lines.
_DECLARED = re.compile(rb"\A(?:[ \t\f]*#[^\n]*\n|[ \t\f\r]*\n)?[ \t\f]*#[^\n]*?coding[:=][ \t]*([-\w.]+)")


def read_code(path: Path) -> str:
    """A source file, in the encoding that it declares in Python's way, else UTF-8."""
    data = _read(path, MAX_CODE_BYTES)
    declared = None if _byte_order_mark(data) else _DECLARED.match(data)
    encoding = declared.group(1).decode("ascii", "replace") if declared else None
    return _decode(data, str(path), encoding, code=True)


def read_questions(name: str) -> str:
    """A file of questions; `-` is stdin."""
    if name != "-":
        return _decode(_read(Path(name), MAX_QUESTIONS_BYTES), name)
    if sys.stdin is None:
        raise CommandError("cannot read stdin: it is closed")
    data = sys.stdin.buffer.read(MAX_QUESTIONS_BYTES + 1)
    return _decode(_check_size(data, "stdin", MAX_QUESTIONS_BYTES), "stdin")


def _decode(data: bytes, where: str, encoding: str | None = None, *, code: bool = False) -> str:
    """The text with \\n line ends and without its byte order mark; CommandError where it is not text."""
    mark, codec = _byte_order_mark(data) or (b"", encoding)
    try:
        text = data[len(mark) :].decode(codec or "utf-8")
    except LookupError:
        raise CommandError(f"{where} declares an unknown encoding, {codec}") from None
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = data.count(b"\n", 0, start) + 1
        hint = ", or declare its encoding in its first line, like `# coding: latin-1`" if code and not codec else ""
        raise CommandError(
            f"{where}, line {line}: byte {start} is not {(codec or 'utf-8').upper()}: save the file as UTF-8{hint}"
        ) from None
    if "\0" in text:
        raise CommandError(f"{where} is not text: it contains zero bytes")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _byte_order_mark(data: bytes) -> tuple[bytes, str] | None:
    return next(((mark, name) for mark, name in BYTE_ORDER_MARKS if data.startswith(mark)), None)


def _read(path: Path, limit: int) -> bytes:
    try:
        # Not blocking: opening a named pipe would wait for a writer indefinitely.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb", buffering=0) as file:
            mode = os.fstat(handle).st_mode
            if stat.S_ISDIR(mode):
                raise CommandError(f"cannot read {path}: it is a folder")
            data = file.read(limit + 1) or b"" if stat.S_ISREG(mode) else _read_stream(handle, path, limit, mode)
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:  # a zero byte in the name
        raise CommandError(f"cannot read {str(path)!r}: {error}") from None
    return _check_size(data, str(path), limit)


def _read_stream(handle: int, path: Path, limit: int, mode: int) -> bytes:
    """A pipe or a device, read until its end."""
    parts: list[bytes] = []
    size, deadline = 0, time.monotonic() + PIPE_SECONDS
    while size <= limit:
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
        elif time.monotonic() > deadline:  # without a writer, such a pipe is immediately at its end
            raise CommandError(f"cannot read {path}: nobody wrote to this pipe within {PIPE_SECONDS:.0f} s")
        else:
            time.sleep(0.02)
    return b"".join(parts)


def _check_size(data: bytes, where: str, limit: int) -> bytes:
    if len(data) > limit:
        raise CommandError(f"{where} is too large: at most {format_bytes(limit)}")
    return data
