"""CESQL beyond its public test kit: precedence, errors with their values, and what must not stall or crash it."""

from __future__ import annotations

from typing import Any

import pytest

from local.broker import cesql
from local.broker.cesql.evaluator import matches

ATTRIBUTES: dict[str, str | int | bool] = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "count": 7}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4-1", 3),
        ("4 - -1", 5),
        ("-7 / 2", -3),
        ("-7 % 2", -1),
        ("7 % -2", 1),
        ("-2147483648", -2147483648),
        ("+5", 5),
        ("2 + 3 * 4 = 14", True),
        ("false AND true OR true", False),  # to the right, as in the published grammar and in Knative
        ("true OR false AND false", True),
        ("NOT false AND true", True),
        ("NOT 'true' = 'true'", False),
        ("'a' LIKE 'a' = true", True),
        ("TRUE = 'true' AND FALSE = 'false'", True),
        ("id IN ('2', '1')", True),
        ("EXISTS count AND NOT EXISTS other", True),
        ("upper(CONCAT('a', 1, true))", "A1TRUE"),
        ("SUBSTRING('abc', 2, 99)", "bc"),
        ("IS_INT('x') XOR IS_INT('5')", True),
        ("\"it's\" = 'it\\'s'", True),
        ("count + 1", 8),
    ],
)
def test_cesql_values(text: str, value: Any) -> None:
    result = cesql.evaluate(cesql.parse(text), ATTRIBUTES)
    assert (result.value, result.errors) == (value, ())
    assert type(result.value) is type(value)


@pytest.mark.parametrize(
    ("text", "value", "kind"),
    [
        ("2147483647 + 1", 0, "math"),
        ("-(-2147483647 - 1)", 0, "math"),
        ("INT('2147483648')", 0, "cast"),
        ("LENGTH(missing)", 0, "missingAttribute"),
        ("SUBSTRING('abc', 1, -1)", "", "functionEvaluation"),
        ("NOSUCH(1)", False, "missingFunction"),
        ("'x' = 5", False, "cast"),
    ],
)
def test_cesql_errors_come_with_a_value(text: str, value: Any, kind: str) -> None:
    result = cesql.evaluate(cesql.parse(text), ATTRIBUTES)
    assert (result.value, [error.kind.value for error in result.errors]) == (value, [kind])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "(a",
        "a)",
        "'open",
        "a LIKE b",
        "a IN ()",
        "5 5",
        "2147483648",
        "NOT",
        "a_b",
        "EXISTS 'x'",
        "a &",
        "f(,)",
        "(" * 4000 + "1" + ")" * 4000,
        "-" * 5000 + "1",
        " OR ".join(["a"] * 1500),
        "+".join(["1"] * 3000),
        "x" * 10000,
    ],
)
def test_cesql_parse_errors(text: str) -> None:
    with pytest.raises(cesql.ParseError):
        cesql.parse(text)


def test_cesql_depth_that_is_allowed_can_be_evaluated() -> None:
    for text in (" OR ".join(["FALSE"] * 99), "+".join(["1"] * 99), "(" * 98 + "1" + ")" * 98, "NOT " * 99 + "TRUE"):
        cesql.evaluate(cesql.parse(text), {})


def test_like_of_many_wildcards_is_quick() -> None:
    assert matches("a" * 5000, "%a" * 50 + "b") is False
    assert matches("abc", r"a\%c") is False
    assert matches("a%c_", r"a\%c\_") is True
    assert matches("", "%") is True
    assert matches("ab", "_") is False
