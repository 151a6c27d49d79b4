"""CESQL's built-in functions (specification, section 3.5, and the casting functions of its test vectors)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from local.broker.cesql.values import CesqlError, ErrorKind, cast
from local.broker.cloudevent import MAX_INTEGER, MIN_INTEGER, Value

Outcome = tuple[Value, CesqlError | None]


@dataclass(frozen=True, slots=True)
class Function:
    """`parameters` are the types of the fixed parameters, `rest` that of further ones; None accepts any value."""

    parameters: tuple[type | None, ...]
    returns: type
    run: Callable[..., Outcome]
    rest: type | None = None
    variadic: bool = False

    def parameter(self, index: int) -> type | None:
        return self.parameters[index] if index < len(self.parameters) else self.rest


def lookup(name: str, arity: int) -> Function | None:
    """The function with this upper-case name that takes this many arguments."""
    for function in FUNCTIONS.get(name, ()):
        fixed = len(function.parameters)
        if arity == fixed or (function.variadic and arity > fixed):
            return function
    return None


def _error(message: str) -> CesqlError:
    return CesqlError(ErrorKind.FUNCTION_EVALUATION, message)


def _abs(x: int) -> Outcome:
    if x == MIN_INTEGER:
        return MAX_INTEGER, CesqlError(ErrorKind.MATH, f"ABS({x}) is not a 32-bit integer")
    return abs(x), None


def _left(text: str, count: int) -> Outcome:
    if count < 0:
        return text, _error(f"LEFT's length {count} is negative")
    return text[:count], None


def _right(text: str, count: int) -> Outcome:
    if count < 0:
        return text, _error(f"RIGHT's length {count} is negative")
    return text[max(0, len(text) - count) :], None


def _substring(text: str, position: int, length: int | None = None) -> Outcome:
    """Positions count from 1, negative ones from the end; 0 returns the empty string."""
    if position == 0:
        return "", None
    if abs(position) > len(text):
        return "", _error(f"SUBSTRING's position {position} is outside a string of {len(text)} characters")
    if length is not None and length < 0:
        return "", _error(f"SUBSTRING's length {length} is negative")
    start = position - 1 if position > 0 else len(text) + position
    return text[start:] if length is None else text[start : start + length], None


def _trim(text: str) -> Outcome:
    # str.strip() would also remove the control characters U+001C to U+001F, which are not white space in Unicode.
    white_space = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    return text.strip(white_space + "\u2028\u2029\u202f\u205f\u3000"), None


def _caster(target: type) -> Callable[[Value], Outcome]:
    return lambda value: cast(value, target)


def _castable(target: type) -> Callable[[Value], Outcome]:
    return lambda value: (cast(value, target)[1] is None, None)


FUNCTIONS: dict[str, tuple[Function, ...]] = {
    "ABS": (Function((int,), int, _abs),),
    "BOOL": (Function((None,), bool, _caster(bool)),),
    "INT": (Function((None,), int, _caster(int)),),
    "STRING": (Function((None,), str, _caster(str)),),
    "IS_BOOL": (Function((None,), bool, _castable(bool)),),
    "IS_INT": (Function((None,), bool, _castable(int)),),
    "LENGTH": (Function((str,), int, lambda text: (len(text), None)),),
    "CONCAT": (Function((), str, lambda *texts: ("".join(texts), None), rest=str, variadic=True),),
    "CONCAT_WS": (Function((str,), str, lambda by, *texts: (by.join(texts), None), rest=str, variadic=True),),
    "LOWER": (Function((str,), str, lambda text: (text.lower(), None)),),
    "UPPER": (Function((str,), str, lambda text: (text.upper(), None)),),
    "TRIM": (Function((str,), str, _trim),),
    "LEFT": (Function((str, int), str, _left),),
    "RIGHT": (Function((str, int), str, _right),),
    "SUBSTRING": (Function((str, int), str, _substring), Function((str, int, int), str, _substring)),
}
