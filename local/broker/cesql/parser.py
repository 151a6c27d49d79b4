"""Parses CESQL into its syntax tree, by recursive descent (specification, section 2, and its ANTLR grammar).

Precedence, lowest first: AND OR XOR · comparisons · + - · * / % · IN · LIKE · - and NOT · calls, EXISTS, parentheses.
AND, OR and XOR bind equally and associate to the right, as in the published grammar and in Knative, although section
3.6 says left: `a OR b AND c` is `a OR (b AND c)`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from local.broker.cesql.syntax import Attribute, Binary, Call, Exists, Expression, In, Like, Literal, Unary
from local.broker.cesql.values import in_range
from local.broker.cesql.walk import levels

MAX_LENGTH = 8192
MAX_DEPTH = 100  # the evaluator recurses, with up to four frames per level

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")
      | (?P<integer>[0-9]+(?![A-Za-z0-9_]))
      | (?P<word>[A-Za-z0-9][A-Za-z0-9_]*)
      | (?P<sign><>|!=|<=|>=|[=<>+\-*/%(),])
    )""",
    re.VERBOSE | re.DOTALL,
)
_KEYWORDS = frozenset({"AND", "OR", "XOR", "NOT", "LIKE", "EXISTS", "IN", "TRUE", "FALSE"})
_COMPARISONS = {"=": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


class ParseError(ValueError):
    """The text is not a CESQL expression; the message says where, and what was expected."""


@dataclass(frozen=True, slots=True)
class _Token:
    """`kind` is string, integer, word, keyword, sign or end; a keyword's text is in upper case."""

    kind: str
    text: str
    at: int


def parse(text: str) -> Expression:
    """The expression's syntax tree; ParseError if the text is not CESQL."""
    if len(text) > MAX_LENGTH:
        raise ParseError(f"the expression has {len(text)} characters; the limit is {MAX_LENGTH}")
    expression = _Parser(_tokens(text)).whole()
    _check_depth(expression)
    return expression


def _check_depth(expression: Expression) -> None:
    for depth, _ in enumerate(levels(expression), start=1):
        if depth > MAX_DEPTH:
            raise ParseError(f"more than {MAX_DEPTH} nested operators; write long OR chains as x IN ('a', 'b')")


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise ParseError(f"cannot read {text[at : at + 20].strip()!r} at character {at}")
        kind, lexeme = match.lastgroup, match[match.lastgroup]
        if kind == "word" and lexeme.upper() in _KEYWORDS:
            kind, lexeme = "keyword", lexeme.upper()
        tokens.append(_Token(kind, lexeme, match.start(match.lastgroup)))
        at = match.end()
    return [*tokens, _Token("end", "the end", len(text))]


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def whole(self) -> Expression:
        expression = self._logic()
        self._require("end")
        return expression

    def _logic(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ParseError(f"parentheses nest more than {MAX_DEPTH} deep")
        chain: list[tuple[Expression, str]] = []
        operand = self._comparison()
        while self._is("keyword", "AND", "OR", "XOR"):
            chain.append((operand, self._next().text))
            operand = self._comparison()
        for left, operator in reversed(chain):
            operand = Binary(operator, left, operand)
        self._depth -= 1
        return operand

    def _comparison(self) -> Expression:
        left = self._sum()
        while self._is("sign", *_COMPARISONS):
            left = Binary(_COMPARISONS[self._next().text], left, self._sum())
        return left

    def _sum(self) -> Expression:
        left = self._product()
        while self._is("sign", "+", "-"):
            left = Binary(self._next().text, left, self._product())
        return left

    def _product(self) -> Expression:
        left = self._membership()
        while self._is("sign", "*", "/", "%"):
            left = Binary(self._next().text, left, self._membership())
        return left

    def _membership(self) -> Expression:
        """IN and LIKE, each optionally after NOT, following their operand."""
        operand = self._unary()
        while True:
            negated = self._is("keyword", "NOT") and self._peek(1).text in ("LIKE", "IN")
            if not negated and not self._is("keyword", "LIKE", "IN"):
                return operand
            if negated:
                self._next()
            if self._next().text == "LIKE":
                pattern = self._peek()
                if pattern.kind != "string":
                    raise self._error("a string literal as LIKE's pattern")
                self._next()
                operand = Like(operand, _unquoted(pattern.text))
            else:
                operand = In(operand, self._list("IN's set", at_least=1))
            if negated:
                operand = Unary("NOT", operand)

    def _unary(self) -> Expression:
        operators: list[str] = []
        while self._is("keyword", "NOT") or self._is("sign", "-", "+"):
            sign = self._next()
            number = self._peek()
            touching = number.kind == "integer" and number.at == sign.at + 1
            if touching and sign.text in ("-", "+"):
                self._next()
                return _wrapped(operators, self._integer(sign.text + number.text))
            if sign.text == "+":
                raise self._error("digits right after +")
            operators.append(sign.text)
        return _wrapped(operators, self._primary())

    def _primary(self) -> Expression:
        token = self._next()
        if token.kind == "string":
            return Literal(_unquoted(token.text))
        if token.kind == "integer":
            return self._integer(token.text)
        if token.kind == "keyword" and token.text in ("TRUE", "FALSE"):
            return Literal(token.text == "TRUE")
        if token.kind == "keyword" and token.text == "EXISTS":
            return Exists(self._identifier(self._next()))
        if token.kind == "sign" and token.text == "(":
            inner = self._logic()
            self._require("sign", ")")
            return inner
        if token.kind == "word":
            if self._is("sign", "("):
                return Call(token.text.upper(), self._list(f"{token.text}'s arguments", at_least=0))
            return Attribute(self._identifier(token))
        self._at -= 1
        raise self._error("a value")

    def _identifier(self, token: _Token) -> str:
        # Attribute names are lower case; the test kit's vectors show that case does not matter here.
        if token.kind not in ("word", "integer") or "_" in token.text:
            self._at -= 1
            raise self._error("an attribute's name")
        return token.text.lower()

    def _list(self, what: str, at_least: int) -> tuple[Expression, ...]:
        self._require("sign", "(")
        items: list[Expression] = []
        if at_least == 0 and self._is("sign", ")"):
            self._next()
            return ()
        while True:
            items.append(self._logic())
            if self._is("sign", ")"):
                self._next()
                return tuple(items)
            if not self._is("sign", ","):
                raise self._error(f", or ) in {what}")
            self._next()

    def _integer(self, text: str) -> Literal:
        if len(text) > 40 or not in_range(int(text)):
            raise ParseError(f"{text[:40]} is not a 32-bit integer")
        return Literal(int(text))

    def _peek(self, ahead: int = 0) -> _Token:
        return self._tokens[min(self._at + ahead, len(self._tokens) - 1)]

    def _is(self, kind: str, *texts: str) -> bool:
        token = self._peek()
        return token.kind == kind and (not texts or token.text in texts)

    def _next(self) -> _Token:
        token = self._peek()
        self._at += 1
        return token

    def _require(self, kind: str, *texts: str) -> None:
        if not self._is(kind, *texts):
            raise self._error(texts[0] if texts else "an operator or the end")
        self._next()

    def _error(self, expected: str) -> ParseError:
        token = self._peek()
        return ParseError(f"expected {expected} at character {token.at}, found {token.text[:40]}")


def _wrapped(operators: list[str], operand: Expression) -> Expression:
    if len(operators) > MAX_DEPTH:
        raise ParseError(f"more than {MAX_DEPTH} signs before one value")
    for operator in reversed(operators):
        operand = Unary(operator, operand)
    return operand


def _unquoted(literal: str) -> str:
    """A string literal's value: only its own delimiter is unescaped, any other backslash stays."""
    quote = literal[0]
    return literal[1:-1].replace("\\" + quote, quote)
