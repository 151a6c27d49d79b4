"""Settings from environment variables. Errors name the variable, the value found, and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping

from common.errors import SettingError


def text(environ: Mapping[str, str], name: str, default: str | None = None) -> str:
    """The variable's value; SettingError when it is empty and has no default."""
    value = environ.get(name, "").strip() or default
    if value is None:
        raise SettingError(f"{name} is not set and has no default")
    return value


def number(
    environ: Mapping[str, str], name: str, default: float, low: float = 0.0, high: float = float("inf")
) -> float:
    """A number within [low, high]."""
    given = environ.get(name, "").strip()
    try:
        value = float(given) if given else default
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        allowed = f"at least {low:g}" if high == float("inf") else f"within {low:g}..{high:g}"
        raise SettingError(f"{name} must be a number {allowed}, found {given!r}")
    return value


def whole(environ: Mapping[str, str], name: str, default: int, low: int = 0) -> int:
    """A whole number of at least `low`."""
    value = number(environ, name, float(default), low)
    if not value.is_integer():
        raise SettingError(f"{name} must be a whole number, found {environ[name]!r}")
    return int(value)


def flag(environ: Mapping[str, str], name: str, default: bool = False) -> bool:
    """True or false, in any of the words that `parse_flag` reads."""
    given = environ.get(name, "").strip()
    try:
        return parse_flag(given) if given else default
    except ValueError as error:
        raise SettingError(f"{name} {error}") from None


def parse_flag(given: str) -> bool:
    """1, true, yes and on; 0, false, no and off, in any case. ValueError for anything else."""
    if (word := given.lower()) in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"must be true or false, found {given!r}")
