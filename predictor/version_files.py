"""Reads the small files of a version: whatever is wrong with one becomes a VersionError of one line.

A byte order mark is accepted. Sizes are bounded, so that a file cannot take the memory that the model needs.
"""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from predictor.errors import VersionError

MAX_JSON_BYTES = 64 << 20
MAX_TEXT_BYTES = 256 << 20
_LARGEST = 2**31 - 1


def has_file(path: Path) -> bool:
    """Whether a version has this file. VersionError if something else has its name, such as a dangling link: the
    version would be served without a part of it."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise VersionError(f"{_printable(path)}: a link that leads nowhere") from None
        return False
    except (OSError, ValueError) as error:
        raise VersionError(f"{_printable(path)}: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(mode):
        raise VersionError(f"{path}: not a file")  # a pipe would be waited for
    return True


def _printable(path: Path) -> str:
    """A path on one line: the names in an index may be anything."""
    text = str(path)
    return text if text.isprintable() and len(text) <= 300 else short_repr(text, 300)


def read_text(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """A UTF-8 file of at most `max_bytes`, without its byte order mark."""
    if not has_file(path):
        raise VersionError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise VersionError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > max_bytes:
        raise VersionError(f"{path}: larger than {max_bytes >> 20} MiB, which no such file is")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise VersionError(f"{path}: not UTF-8 (byte {error.start}): save it as UTF-8") from None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file."""
    text = read_text(path, MAX_JSON_BYTES)
    try:
        data = json.loads(text)
    except ValueError as error:
        raise VersionError(f"{path}: not JSON: {error}") from None
    except RecursionError:
        raise VersionError(f"{path}: not usable: nested too deeply") from None
    if not isinstance(data, dict):
        raise VersionError(f"{path}: must contain a JSON object")
    return data


def integer_field(raw: Mapping[str, Any], name: str, path: Path, *, low: int = 1, default: int | None = None) -> int:
    """The integer field `name`, at least `low`; `default` where the file has none or null."""
    value = raw.get(name)
    if value is None:
        if default is None:
            raise VersionError(f"{path}: {name} is missing")
        return default
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= _LARGEST:
        raise VersionError(f"{path}: {name} must be a whole number of at least {low}, found {short_repr(value)}")
    return value


def positive_field(raw: Mapping[str, Any], name: str, path: Path, default: float | None = None) -> float:
    """The finite field `name` above 0; `default` where the file has none or null."""
    value = raw.get(name)
    if value is None:
        if default is None:
            raise VersionError(f"{path}: {name} is missing")
        return default
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number) and number > 0:
            return number
    raise VersionError(f"{path}: {name} must be a number above 0, found {short_repr(value)}")


def short_repr(value: Any, max_length: int = 60) -> str:
    """A value of a file as a message shows it: on one line, shortened."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an int of more digits than Python prints
        text = f"a {type(value).__name__}"
    return text if len(text) <= max_length else text[: max_length - 1] + "…"
