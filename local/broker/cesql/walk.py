"""The nodes of a CESQL syntax tree, level by level."""

from __future__ import annotations

from collections.abc import Iterator

from local.broker.cesql.syntax import Binary, Call, Expression, In, Like, Unary


def levels(expression: Expression) -> Iterator[list[Expression]]:
    """The root, then its children, then theirs."""
    level = [expression]
    while level:
        yield level
        level = [child for parent in level for child in children(parent)]


def walk(expression: Expression) -> Iterator[Expression]:
    for level in levels(expression):
        yield from level


def children(expression: Expression) -> tuple[Expression, ...]:
    match expression:
        case Binary(_, left, right):
            return (left, right)
        case Unary(_, operand) | Like(operand, _):
            return (operand,)
        case In(operand, members):
            return (operand, *members)
        case Call(_, arguments):
            return arguments
    return ()
