"""The syntax tree of a CESQL expression."""

from __future__ import annotations

from dataclasses import dataclass

from local.broker.cloudevent import Value


@dataclass(frozen=True, slots=True)
class Literal:
    value: Value


@dataclass(frozen=True, slots=True)
class Attribute:
    name: str


@dataclass(frozen=True, slots=True)
class Exists:
    name: str


@dataclass(frozen=True, slots=True)
class Unary:
    """`operator` is NOT or -."""

    operator: str
    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary:
    """`operator` is one of = != < <= > >= + - * / % AND OR XOR."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Like:
    operand: Expression
    pattern: str


@dataclass(frozen=True, slots=True)
class In:
    operand: Expression
    members: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A function's invocation; the name is in upper case."""

    name: str
    arguments: tuple[Expression, ...]


Expression = Literal | Attribute | Exists | Unary | Binary | Like | In | Call
