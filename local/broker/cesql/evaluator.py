"""The value of a CESQL expression for one event, and the errors on the way (specification, sections 3.3 to 3.7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from local.broker.cesql.functions import lookup
from local.broker.cesql.syntax import Attribute, Binary, Call, Exists, Expression, In, Like, Literal, Unary
from local.broker.cesql.values import CesqlError, ErrorKind, cast_implicitly, in_range, zero
from local.broker.cloudevent import Value


@dataclass(frozen=True, slots=True)
class Result:
    """Evaluation is total: there is always a value, even with errors."""

    value: Value
    errors: tuple[CesqlError, ...] = ()


def evaluate(expression: Expression, attributes: Mapping[str, Value]) -> Result:
    """The expression's value for an event's context attributes."""
    evaluation = _Evaluation(attributes)
    value = evaluation.value(expression)
    return Result(False if value is None else value, tuple(evaluation.errors))


def passes(expression: Expression, attributes: Mapping[str, Value]) -> bool:
    """The expression as a filter (section 1.2): only true, without any error, lets the event pass."""
    result = evaluate(expression, attributes)
    return result.value is True and not result.errors


class _Evaluation:
    def __init__(self, attributes: Mapping[str, Value]) -> None:
        self.attributes = attributes
        self.errors: list[CesqlError] = []

    def value(self, expression: Expression) -> Value | None:
        """The value, even after an error; None for a missing attribute, which has none."""
        if isinstance(expression, Literal):
            return expression.value
        if isinstance(expression, Attribute):
            attribute = self.attributes.get(expression.name)
            if attribute is None:
                self._add_error(ErrorKind.MISSING_ATTRIBUTE, f"the event has no attribute {expression.name}")
            return attribute
        if isinstance(expression, Exists):
            return expression.name in self.attributes
        if isinstance(expression, Unary):
            return self._unary(expression)
        if isinstance(expression, Binary):
            return self._logic(expression) if expression.operator in _LOGIC else self._binary(expression)
        if isinstance(expression, Like):
            text = self._operand(expression.operand, str)
            return False if text is None else matches(str(text), expression.pattern)
        if isinstance(expression, In):
            return self._in(expression)
        return self._call(expression)

    def _unary(self, expression: Unary) -> Value:
        target = bool if expression.operator == "NOT" else int
        operand = self._operand(expression.operand, target)
        if operand is None:
            return zero(target)
        return not operand if expression.operator == "NOT" else self._bounded(-operand)  # type: ignore[operator]

    def _logic(self, expression: Binary) -> bool:
        left = self._operand(expression.left, bool)
        if left is None:
            return False
        if left is (expression.operator == "OR") and expression.operator != "XOR":
            return bool(left)
        right = self._operand(expression.right, bool)
        if right is None:
            return False
        return left is not right if expression.operator == "XOR" else bool(right)

    def _binary(self, expression: Binary) -> Value:
        operator = expression.operator
        returns = int if operator in _ARITHMETIC else bool
        left = self._operand_value(expression.left)
        right = None if left is None else self._operand_value(expression.right)
        if left is None or right is None:
            return zero(returns)
        # Equality is the one overloaded operator: its right operand's type decides (section 3.7).
        target = type(right) if operator in ("=", "!=") else int
        x, y = self._cast(left, target), self._cast(right, target)
        if operator in _COMPARISON:
            return _COMPARISON[operator](x, y)
        if operator in ("/", "%") and y == 0:
            self._add_error(ErrorKind.MATH, "division by zero")
            return 0
        return self._bounded(_ARITHMETIC[operator](x, y))

    def _in(self, expression: In) -> bool:
        left = self._operand_value(expression.operand)
        if left is None:
            return False
        contained = False
        for member in expression.members:
            value = self._operand(member, type(left))
            contained = contained or (value is not None and value == left)
        return contained

    def _call(self, expression: Call) -> Value:
        function = lookup(expression.name, len(expression.arguments))
        if function is None:
            self._add_error(
                ErrorKind.MISSING_FUNCTION, f"no function {expression.name} takes {len(expression.arguments)} arguments"
            )
            return False
        arguments = []
        for index, argument in enumerate(expression.arguments):
            parameter = function.parameter(index)
            value = self._operand_value(argument) if parameter is None else self._operand(argument, parameter)
            if value is None:
                return zero(function.returns)
            arguments.append(value)
        result, error = function.run(*arguments)
        if error is not None:
            self.errors.append(error)
        return result

    def _operand_value(self, expression: Expression) -> Value | None:
        """An operand's value; None after an error in it: the operator then returns its zero value (3.2, 3.3)."""
        before = len(self.errors)
        value = self.value(expression)
        return value if len(self.errors) == before else None

    def _operand(self, expression: Expression, target: type) -> Value | None:
        value = self._operand_value(expression)
        return None if value is None else self._cast(value, target)

    def _cast(self, value: Value, target: type) -> Value:
        result, error = cast_implicitly(value, target)
        if error is not None:
            self.errors.append(error)
        return result

    def _bounded(self, value: int) -> int:
        if in_range(value):
            return value
        self._add_error(ErrorKind.MATH, f"{value} is not a 32-bit integer")
        return 0

    def _add_error(self, kind: ErrorKind, message: str) -> None:
        self.errors.append(CesqlError(kind, message))


def matches(text: str, pattern: str) -> bool:
    r"""LIKE (section 3.4.3): % any characters, _ one, \% and \_ themselves. Takes time proportional to text × pattern.

    Not a regular expression: with many % over a long text, one could stall the broker.
    """
    parts = _pattern_parts(pattern)
    at = index = 0
    star, resume = -1, 0
    while at < len(text):
        if index < len(parts) and parts[index] is _ANY:
            star, resume = index, at
            index += 1
        elif index < len(parts) and parts[index] in (_ONE, text[at]):
            at, index = at + 1, index + 1
        elif star >= 0:
            resume += 1
            at, index = resume, star + 1
        else:
            return False
    return all(part is _ANY for part in parts[index:])


_ANY, _ONE = "any characters", "one character"


def _pattern_parts(pattern: str) -> list[str]:
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\" and pattern[at + 1 : at + 2] in ("%", "_"):
            at += 1
            parts.append(pattern[at])
        else:
            parts.append({"%": _ANY, "_": _ONE}.get(char, char))
        at += 1
    return parts


def _quotient(x: int, y: int) -> int:
    """Rounded towards 0, unlike Python's //."""
    return abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)


_LOGIC = ("AND", "OR", "XOR")
_COMPARISON: dict[str, Callable[..., bool]] = {
    "=": lambda x, y: x == y,
    "!=": lambda x, y: x != y,
    "<": lambda x, y: x < y,
    "<=": lambda x, y: x <= y,
    ">": lambda x, y: x > y,
    ">=": lambda x, y: x >= y,
}
_ARITHMETIC: dict[str, Callable[..., int]] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": _quotient,
    "%": lambda x, y: x - y * _quotient(x, y),
}
