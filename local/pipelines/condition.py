"""The conditions of `dsl.If`, as the compiler writes them: comparisons in CEL, joined by `&&`, negated by `!(…)`.

kfp.local evaluates them by substituting values into a Python expression, does not find a named output's value, and
treats what it cannot evaluate as false: the guarded steps are skipped and the run succeeds. Here that is an error.
By hand: a CEL library (cel-python) would be a new dependency for comparisons alone.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

_TOKENS = re.compile(
    r"""\s*(?:
        inputs\.parameter_values\['(?P<input>[^']*)'\]
      | (?P<text>'[^']*')
      | (?P<number>-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)
      | (?P<word>true|false|null|int|double|string)\b
      | (?P<sign>&&|\|\||[=!<>]=|[<>!()])
    )""",
    re.VERBOSE,
)
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_SIGNS = {"&&": " and ", "||": " or ", "!": " not "}
_WORDS = {"true": "True", "false": "False", "null": "None", "int": "int", "double": "float", "string": "str"}
_CASTS: Mapping[str, Callable[[Any], Any]] = {"int": int, "float": float, "str": str}
_MAX_LENGTH = 4000


class ConditionError(ValueError):
    """The condition is not one that the compiler writes, or a value that it needs is missing or of the wrong type."""


def input_names(condition: str) -> frozenset[str]:
    """The names of the input parameters that it reads; ConditionError when it is not a condition."""
    return frozenset(_parse(condition)[1])


def evaluate(condition: str, value: Callable[[str], Any]) -> bool:
    """Whether it holds. `value` gives an input parameter's value, or raises ConditionError."""
    tree, names = _parse(condition)
    try:
        return bool(_value(tree, [value(name) for name in names]))
    except (TypeError, ValueError) as error:
        raise ConditionError(f"condition {condition!r}: {error}") from None


def _parse(condition: str) -> tuple[ast.expr, list[str]]:
    parts, names, position = [], list[str](), 0
    text = condition.strip()
    if len(text) > _MAX_LENGTH:
        raise ConditionError(f"a condition of {len(text)} characters is too long")
    while position < len(text):
        match = _TOKENS.match(text, position)
        if match is None:
            raise ConditionError(
                f"condition {condition!r} is not understood from {text[position : position + 20]!r} on"
            )
        position = match.end()
        match match.lastgroup:
            case "input":
                parts.append(f"_[{len(names)}]")
                names.append(match["input"])
            case "text":
                parts.append(repr(match["text"][1:-1]))
            case "word":
                parts.append(_WORDS[match["word"]])
            case "sign":
                parts.append(_SIGNS.get(match["sign"], match["sign"]))
            case _:
                parts.append(match["number"])
    try:
        return ast.parse(" ".join(parts).strip(), mode="eval").body, names
    except (SyntaxError, RecursionError, MemoryError, ValueError):
        raise ConditionError(f"condition {condition!r} is not well formed") from None


def _value(node: ast.expr, values: list[Any]) -> Any:
    match node:
        case ast.Constant(value=constant):
            return constant
        case ast.Subscript(slice=ast.Constant(value=int(index))):
            return values[index]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, values)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, values)
        case ast.BoolOp(op=ast.And(), values=operands):
            return all(_value(operand, values) for operand in operands)
        case ast.BoolOp(op=ast.Or(), values=operands):
            return any(_value(operand, values) for operand in operands)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            return _COMPARE[type(op)](_value(left, values), _value(right, values))
        case ast.Call(func=ast.Name(id=name), args=[argument]) if name in _CASTS:
            return _CASTS[name](_value(argument, values))
    raise ConditionError("a condition may only compare, negate, join and convert values")
