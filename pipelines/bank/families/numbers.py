"""Integers, floats and truth values in arithmetic; operator precedence."""

from __future__ import annotations

import random

from pipelines.bank.draft import NAMES, Draft, Family, posed, ran


def division(rng: random.Random) -> Draft:
    op = rng.choice(("//", "%", "/"))
    a, b = rng.randint(-9, 20), rng.choice((2, 4, 5) if op == "/" else (2, 3, 4, 5))
    mistakes = [
        "$a % $b",
        "$a // $b",
        "int($a / $b)",
        "$a / $b if $b != 3 else $a",
        "$a // $b + 1",
        "abs($a) % $b",
        "-$a",
    ]
    return posed(rng, f"$a {op} $b", {"a": a, "b": b}, mistakes)


def number_types(rng: random.Random) -> Draft:
    a, b = rng.randint(1, 9), rng.randint(2, 5)
    template, mistakes = rng.choice(
        (
            ("$a * $b / $b", ["$a", "$a * $b", "$b / $b", "str($a / 1)", "$a // 1"]),
            ("$a + 0.5", ["$a", "$a + 1", "float($a)", "$a - 0.5", "$a * 0.5"]),
            ("float($a)", ["$a", "str($a)", "float($a + 1)", "$a / 10"]),
            ("$a * 1.0", ["$a", "$a * 10", "$a + 1.0", "$a / 10"]),
            ("int($a + 0.9)", ["$a + 1", "$a + 0.9", "float($a)", "$a - 1"]),
            ("int(-$a - 0.5)", ["-$a - 1", "$a", "-$a - 0.5", "float(-$a)"]),
            ("$a // 1.0", ["$a", "$a / 10", "float($a + 1)", "1.0"]),
            ("$b ** 2", ["$b * 2", "float($b ** 2)", "2 ** $b", "$b + 2"]),
            ("type($a / $b).__name__", ["'int'", "'str'", "'bool'", "'float'", "'NoneType'"]),
            ("type($a // $b).__name__", ["'int'", "'str'", "'bool'", "'float'", "'NoneType'"]),
            ("type($a > $b).__name__", ["'int'", "'str'", "'bool'", "'float'", "'NoneType'"]),
            ("type(str($a)).__name__", ["'int'", "'str'", "'bool'", "'float'", "'list'"]),
            ("str($a) + str($b)", ["$a + $b", "str($a + $b)", "str($b) + str($a)", "int('1' + str($b))"]),
            ("str($a) * $b", ["$a * $b", "str($a * $b)", "str($b) * $a", "str($a) * ($b + 1)"]),
            ("int(str($a) + '0')", ["$a", "str($a) + '0'", "$a + 10", "$a + 0.5"]),
        )
    )
    return posed(
        rng,
        template,
        {"a": a, "b": b} if "$b" in template else {"a": a},
        [m for m in mistakes if "$b" in template or "$b" not in m],
    )


def truth_arithmetic(rng: random.Random) -> Draft:
    a = rng.randint(2, 20)
    template = rng.choice(
        (
            "True + $a",
            "$a - True",
            "$a * True",
            "$a * False",
            "False + $a",
            "True + True + $a",
            "$a + ($a > 5)",
            "$a - ($a < 9)",
            "int($a > 10)",
        )
    )
    return posed(rng, template, {"a": a}, ["$a", "$a + 1", "$a - 1", "$a + 2", "0", "1", "True"], ["TypeError"])


def augmented(rng: random.Random) -> Draft:
    name = rng.choice(NAMES)
    start, d, e = rng.randint(1, 9), rng.randint(1, 6), rng.randint(2, 3)
    first, second = rng.sample((f"{name} += {d}", f"{name} -= {d}", f"{name} *= {e}", f"{name} //= {e}"), 2)
    head, tail = f"{name} = {start}\n", f"\nprint({name})"
    mistakes = [
        head + body + tail for body in (first, second, f"{second}\n{first}", f"{first}\n{first}", f"{second}\n{second}")
    ]
    return ran(f"{head}{first}\n{second}{tail}", mistakes)


def assignment(rng: random.Random) -> Draft:
    x, y = rng.sample(NAMES, 2)
    a, b = rng.sample(range(1, 10), 2)
    head = f"{x} = {a}\n{y} = {b}\n"
    body = rng.choice(
        (
            f"{x}, {y} = {y}, {x}",
            f"{x} = {y}\n{y} = {x}",
            f"{y} = {x}\n{x} = {y}",
            f"{x}, {y} = {y}, {x} + {y}",
            f"{x} = {x} + {y}",
        )
    )
    show = f"\nprint({x}, {y})"
    return ran(head + body + show, [], [f"{a} {b}", f"{b} {a}", f"{b} {b}", f"{a} {a}", f"{a + b} {b}", f"{b} {a + b}"])


def builtins(rng: random.Random) -> Draft:
    a, b, c = rng.sample(range(1, 10), 3)
    template, mistakes = rng.choice(
        (
            ("max($a, $b, $c)", ["min($a, $b, $c)", "$a", "$b", "$c", "$a + $b + $c"]),
            ("min($a, $b, $c)", ["max($a, $b, $c)", "$a", "$b", "$c", "0"]),
            ("abs($a - $b) + $c", ["$a - $b + $c", "$a - $b", "abs($a - $b)", "$a + $b + $c"]),
            (
                "divmod($a, 3) + ($b, $c)",
                ["(0, $a, $b, $c)", "($a % 3, $a // 3, $b, $c)", "($a // 3, $a % 3, $c, $b)", "($a // 3, $b, $c)"],
            ),
            ("len(str($a * 10)) + $b + $c", ["$b + $c", "$b + $c + 1", "$b + $c + 3", "$a * 10 + $b + $c"]),
            ("sum(($a, $b, $c))", ["$a + $b", "$b + $c", "$a * $b + $c", "max($a, $b, $c)"]),
        )
    )
    return posed(rng, template, {"a": a, "b": b, "c": c}, mistakes)


GROUPINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("$a + $b * $c", ("($a + $b) * $c", "$a * $b + $c", "$a + $b + $c", "$b * $c")),
    ("$a * $b + $c", ("$a * ($b + $c)", "$a + $b * $c", "$a + $b + $c", "$a * $b")),
    ("$a - $b - $c", ("$a - ($b - $c)", "$a + $b - $c", "$b - $a - $c", "$c - $b - $a")),
    ("$a - $b + $c", ("$a - ($b + $c)", "$a + $b - $c", "$a + $b + $c", "$b - $a + $c")),
    ("$a - $b * $c", ("($a - $b) * $c", "$a + $b * $c", "$b * $c - $a", "$a * $b - $c")),
    ("$a * ($b + $c)", ("$a * $b + $c", "$a + $b * $c", "$a + $b + $c", "$a * $c + $b")),
    ("($a + $b) * $c", ("$a + $b * $c", "$a * $b + $c", "$a + $b + $c", "$b + $a * $c")),
    ("$a + $b % $c", ("($a + $b) % $c", "$a % $b + $c", "$a + $b // $c", "$b % $c")),
    ("$a + $b // $c", ("($a + $b) // $c", "$a + $b % $c", "$a // $b + $c", "$b // $c")),
    ("$a * $b % $c", ("$a * ($b % $c)", "$a % $c", "$b % $c", "$a * $b // $c")),
)


def grouping(rng: random.Random) -> Draft:
    template, mistakes = rng.choice(GROUPINGS)
    values = {"a": rng.randint(1, 9), "b": rng.randint(1, 9), "c": rng.randint(2, 5)}
    return posed(rng, template, values, mistakes)


def powers(rng: random.Random) -> Draft:
    template, mistakes = rng.choice(
        (
            ("-$a ** 2", ("(-$a) ** 2", "-$a * 2", "$a * 2", "2 ** $a")),
            ("(-$a) ** 2", ("-$a ** 2", "-$a * 2", "$a * 2", "2 ** $a")),
            ("2 * $a ** 2", ("(2 * $a) ** 2", "$a ** 2", "4 * $a", "-2 * $a ** 2")),
            ("$a ** 2 + $b", ("$a ** (2 + $b) % 100", "$a * 2 + $b", "($a + $b) ** 2", "$a ** 2")),
            ("$a + $b ** 2", ("($a + $b) ** 2", "$a + $b * 2", "$b ** 2", "$a ** 2 + $b")),
            ("$b * 2 ** 3", ("($b * 2) ** 3", "$b * 6", "$b * 9", "$b + 8")),
        )
    )
    values = {"a": rng.randint(2, 9), "b": rng.randint(1, 9)}
    return posed(rng, template, {k: v for k, v in values.items() if f"${k}" in template}, mistakes)


def comparisons(rng: random.Random) -> Draft:
    """Arithmetic binds before comparison, comparison before not, not before and, and before or."""
    template, mistakes = rng.choice(
        (
            ("$a + $b > $c", ("$a + ($b > $c)", "$a", "$b > $c")),
            ("$a < $b + $c", ("($a < $b) + $c", "$c", "$a > $b")),
            ("$a + ($b > $c)", ("$a + $b > $c", "$a + $b", "$a", "$a + 1", "$a - 1")),
            ("$a < $b < $c", ("$a < ($b < 0) < $c", "$a", "$b")),
            ("not $a == $b", ("(not $a) == $b", "$a", "not $a")),
            ("not $a > $b", ("(not $a) > $b - 9", "$a", "$b")),
        )
    )
    values = {"a": rng.randint(1, 9), "b": rng.randint(1, 9), "c": rng.randint(1, 9)}
    used = {k: v for k, v in values.items() if f"${k}" in template}
    return posed(rng, template, used, mistakes, ["True", "False", "None", "TypeError"])


FAMILIES = (
    Family("division", "arithmetic", division),
    Family("number-types", "arithmetic", number_types),
    Family("truth-arithmetic", "arithmetic", truth_arithmetic),
    Family("augmented-assignment", "arithmetic", augmented),
    Family("assignment", "arithmetic", assignment),
    Family("builtins", "arithmetic", builtins),
    Family("grouping", "precedence", grouping),
    Family("powers", "precedence", powers),
    Family("comparisons", "precedence", comparisons),
)
