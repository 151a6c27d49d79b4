"""Loops, comprehensions and recursion."""

from __future__ import annotations

import random

from pipelines.bank.draft import NAMES, Draft, Family, posed, ran
from pipelines.bank.families.words import words


def loop_count(rng: random.Random) -> Draft:
    """How often does the body run? range excludes its end, and its step may overshoot."""
    i, c = rng.sample(NAMES, 2)
    a, n, step = rng.randint(0, 3), rng.randint(2, 6), rng.randint(2, 3)
    bounds = rng.choice((f"{n}", f"{a}, {a + n}", f"0, {2 * n}, {step}", f"{n}, 0, -1", f"1, {n + 1}"))
    code = f"{c} = 0\nfor {i} in range({bounds}):\n    {c} += 1\nprint({c})"
    return ran(code, [], [str(n), str(n + 1), str(n - 1), str(a + n), str(2 * n), str(n + 2)])


def loop_sum(rng: random.Random) -> Draft:
    i, c = rng.sample(NAMES, 2)
    a, n = rng.randint(1, 3), rng.randint(2, 4)
    start = rng.choice((0, 0, 1, 5))
    step = rng.choice((i, i, f"2 * {i}", "2", str(n)))

    def whole(bounds: str, step: str = step) -> str:
        return f"{c} = {start}\nfor {i} in range({bounds}):\n    {c} += {step}\nprint({c})"

    bounds = rng.choice((f"{n}", f"{n + 1}", f"1, {n + 1}", f"{a}, {a + n}"))
    return ran(whole(bounds), [whole(b) for b in (f"{n}", f"{n + 1}", f"1, {n + 1}", f"{a}, {a + n + 1}", f"{n + 2}")])


def loop_list(rng: random.Random) -> Draft:
    i, c, _ = rng.sample(NAMES, 3)
    values = rng.sample(range(1, 10), 4)
    limit = rng.randint(3, 7)
    body, start = rng.choice(
        (
            (f"    if {i} > {limit}:\n        {c} += 1", "0"),
            (f"    if {i} % 2 == 0:\n        {c} += 1", "0"),
            (f"    if {i} > {c}:\n        {c} = {i}", "0"),
            (f"    if {i} < {c}:\n        {c} = {i}", "9"),
            (f"    {c} = {i}", "0"),
            (f"    if {i} > {limit}:\n        break\n    {c} += 1", "0"),
            (f"    if {i} == {values[1]}:\n        continue\n    {c} += 1", "0"),
            (f"    if {i} > {limit}:\n        {c} = {i}\n        break", "0"),
        )
    )
    code = f"{c} = {start}\nfor {i} in {values}:\n{body}\nprint({c})"
    if "+= 1" in body:
        return ran(code, [], rng.sample("01234", 5))
    return ran(code, [], [*map(str, rng.sample(values, 4)), "0", "9", str(len(values))])


def while_loop(rng: random.Random) -> Draft:
    x, c = rng.sample(NAMES, 2)
    n, k = rng.randint(4, 12), rng.randint(2, 3)
    test, step = rng.choice(
        (
            ("> 0", f"{x} -= {k}"),
            ("> 1", f"{x} //= 2"),
            (f">= {k}", f"{x} -= {k}"),
            ("> 0", f"{x} //= 2"),
            (f"> {k}", f"{x} -= 1"),
        )
    )
    counted = rng.random() < 0.5

    def whole(test: str) -> str:
        if counted:
            return f"{x} = {n}\n{c} = 0\nwhile {x} {test}:\n    {step}\n    {c} += 1\nprint({c})"
        return f"{x} = {n}\nwhile {x} {test}:\n    {step}\nprint({x})"

    return ran(whole(test), [whole(t) for t in ("> 1", f"> {k}", f"> {k + 1}")], ["0", "1", str(n // k), str(k)])


def nested_loops(rng: random.Random) -> Draft:
    i, j, c = rng.sample(NAMES, 3)
    a, b = rng.sample(range(2, 6), 2)
    inner = rng.choice((f"range({b})", f"range({b})", f"range({i})", f"range({i} + 1)", f"range(1, {b})"))
    code = f"{c} = 0\nfor {i} in range({a}):\n    for {j} in {inner}:\n        {c} += 1\nprint({c})"
    return ran(
        code, [], [str(a * b), str(a + b), str(a * (b - 1)), str(a * (a + 1) // 2), str(a * (a - 1) // 2), str(a * a)]
    )


def last_value(rng: random.Random) -> Draft:
    """The loop variable outlives the loop, as do those of enumerate and zip."""
    i = rng.choice(NAMES)
    n, a = rng.randint(3, 9), rng.randint(1, 3)
    header, body = rng.choice(
        (
            (f"for {i} in range({n}):", "pass"),
            (f"for {i} in range({a}, {n + a}):", "pass"),
            (f"for {i} in range({n}, {a}, -1):", "pass"),
            (f"for {i} in range({n + 3}):", f"if {i} == {n}:\n        break"),
        )
    )
    return ran(
        f"{header}\n    {body}\nprint({i})",
        [],
        [str(n), str(n - 1), str(n + 1), str(a), str(a + n), str(a + 1), "NameError"],
    )


def comprehension(rng: random.Random) -> Draft:
    v = rng.choice("ijke")
    s = rng.sample(range(1, 10), 4)
    k = rng.randint(2, 6)
    template, mistakes = rng.choice(
        (
            (
                f"[{v} + {k} for {v} in $s]",
                (f"[{v} for {v} in $s]", f"[{v} * {k} for {v} in $s]", f"$s + [{k}]", f"[{v} + {k + 1} for {v} in $s]"),
            ),
            (f"[{v} * 2 for {v} in $s]", (f"[{v} + 2 for {v} in $s]", "$s * 2", f"[{v} ** 2 for {v} in $s]", "$s")),
            (
                f"[{v} for {v} in $s if {v} > {k}]",
                (
                    f"[{v} for {v} in $s if {v} >= {k}]",
                    f"[{v} for {v} in $s if {v} < {k}]",
                    f"[{v} > {k} for {v} in $s]",
                    "$s",
                    f"[{v} for {v} in $s if {v} > {k + 1}]",
                ),
            ),
            (
                f"[{v} for {v} in $s if {v} % 2 == 0]",
                (
                    f"[{v} for {v} in $s if {v} % 2]",
                    f"[{v} % 2 for {v} in $s]",
                    "$s",
                    f"[{v} for {v} in $s if {v} % 4 == 0]",
                    "$s[::2]",
                ),
            ),
            (
                f"[{v} % 2 for {v} in $s]",
                (f"[{v} // 2 for {v} in $s]", f"[{v} for {v} in $s if {v} % 2]", f"[1 - {v} % 2 for {v} in $s]", "$s"),
            ),
            (
                f"[{v} > {k} for {v} in $s]",
                (
                    f"[{v} <= {k} for {v} in $s]",
                    f"[{v} for {v} in $s if {v} > {k}]",
                    "[True] * 4",
                    f"[{v} > {k} for {v} in $s[::-1]]",
                    f"[{v} > {k} for {v} in $s][:2]",
                ),
            ),
            (
                f"sum(1 for {v} in $s if {v} > {k})",
                (f"sum({v} for {v} in $s if {v} > {k})", "len($s)", f"sum(1 for {v} in $s if {v} <= {k})"),
            ),
            (f"len([{v} for {v} in $s if {v} < {k}])", (f"len([{v} for {v} in $s if {v} > {k}])", "len($s)", "0")),
            (
                f"any({v} > {k} for {v} in $s)",
                ("True", "False", "None", f"[{v} > {k} for {v} in $s]", f"sum({v} > {k} for {v} in $s)"),
            ),
            (
                f"all({v} > {k} for {v} in $s)",
                ("True", "False", "None", f"[{v} > {k} for {v} in $s]", f"sum({v} > {k} for {v} in $s)"),
            ),
        )
    )
    return posed(rng, template, {"s": s}, mistakes)


def comprehension_range(rng: random.Random) -> Draft:
    v = rng.choice("ijke")
    n, k = rng.randint(3, 5), rng.randint(2, 3)
    pairs = (
        (
            f"[{v} * {k} for {v} in range($n)]",
            (
                f"[{v} * {k} for {v} in range(1, $n + 1)]",
                f"[{v} * {k} for {v} in range($n + 1)]",
                f"[{v} + {k} for {v} in range($n)]",
                f"[{v} * {k} for {v} in range(1, $n)]",
            ),
        ),
        (
            f"[{v} ** 2 for {v} in range($n)]",
            (
                f"[{v} ** 2 for {v} in range(1, $n + 1)]",
                f"[{v} * 2 for {v} in range($n)]",
                f"[{v} ** 2 for {v} in range($n + 1)]",
                f"[{v} ** 2 for {v} in range(1, $n)]",
            ),
        ),
        (
            f"[{v} for {v} in range(2 * $n) if {v} % {k} == 0]",
            (
                f"[{v} for {v} in range(2 * $n + {k}) if {v} % {k} == 0]",
                f"[{v} for {v} in range(1, 2 * $n) if {v} % {k} == 0]",
                f"[{v} for {v} in range(2 * $n) if {v} % {k}]",
                f"[{v} * {k} for {v} in range(2 * $n)]",
            ),
        ),
        (
            f"[{k} for {v} in range($n)]",
            (
                f"[{v} for {v} in range($n)]",
                f"[{k}]",
                f"[{k}] * ($n + 1)",
                f"[{k}] * ($n - 1)",
                f"[{v} + {k} for {v} in range($n)]",
            ),
        ),
        (
            f"[$n - {v} for {v} in range({k + 1})]",
            (
                f"[{v} for {v} in range({k + 1})]",
                f"[$n + {v} for {v} in range({k + 1})]",
                f"[$n - {v} for {v} in range({k})]",
                f"[$n - {v} for {v} in range(1, {k + 2})]",
            ),
        ),
        (
            f"{{{v}: {v} * {k} for {v} in range({n - 1})}}",
            (
                f"{{{v}: {v} for {v} in range({n - 1})}}",
                f"{{{v}: {v} * {k} for {v} in range({n})}}",
                f"[{v} * {k} for {v} in range({n - 1})]",
                f"{{{v}: {v} * {k} for {v} in range(1, {n})}}",
            ),
        ),
    )
    template, mistakes = rng.choice(pairs)
    return posed(rng, template, {"n": n} if "$n" in template else {}, mistakes, bare=0.5)


def comprehension_words(rng: random.Random) -> Draft:
    s = words(rng, rng.randint(2, 3))
    v, k = rng.choice("ijke"), rng.randint(3, 5)
    template, mistakes = rng.choice(
        (
            (
                f"[len({v}) for {v} in $s]",
                (
                    "len($s)",
                    f"[len({v}) + 1 for {v} in $s]",
                    f"[len({v}) for {v} in $s][::-1]",
                    "$s",
                    f"sum(len({v}) for {v} in $s)",
                ),
            ),
            (
                f"[{v}[0] for {v} in $s]",
                (
                    "$s[0]",
                    f"[{v}[-1] for {v} in $s]",
                    f"''.join({v}[0] for {v} in $s)",
                    f"[{v}[1] for {v} in $s]",
                    f"[{v}[0] for {v} in $s][::-1]",
                ),
            ),
            (
                f"''.join({v}[0] for {v} in $s)",
                (
                    "$s[0]",
                    f"[{v}[0] for {v} in $s]",
                    f"''.join({v}[-1] for {v} in $s)",
                    "''.join($s)",
                    f"''.join({v}[0] for {v} in $s[::-1])",
                ),
            ),
            (
                f"[{v} for {v} in $s if len({v}) > {k}]",
                (
                    "$s",
                    f"[{v} for {v} in $s if len({v}) <= {k}]",
                    f"[len({v}) > {k} for {v} in $s]",
                    f"[len({v}) for {v} in $s]",
                    "[]",
                ),
            ),
            (
                f"[{v}.upper() for {v} in $s]",
                ("$s", f"[{v}.title() for {v} in $s]", "''.join($s).upper()", f"[{v}.upper() for {v} in $s][::-1]"),
            ),
        )
    )
    return posed(rng, template, {"s": s}, mistakes)


def recursion(rng: random.Random) -> Draft:
    f, n = rng.choice("fgh"), rng.choice("nkx")
    k = rng.randint(1, 3)
    base, step, call = rng.choice(
        (
            (f"{n} == 0", f"{n} + {f}({n} - 1)", rng.randint(2, 5)),
            (f"{n} == 0", f"{k} + {f}({n} - 1)", rng.randint(2, 6)),
            (f"{n} <= 1", f"{n} * {f}({n} - 1)", rng.randint(2, 4)),
            (f"{n} < 2", f"1 + {f}({n} // 2)", rng.randint(3, 16)),
            (f"{n} < 2", f"{f}({n} - 1) + {f}({n} - 2)", rng.randint(3, 5)),
            (f"{n} < 10", f"1 + {f}({n} // 10)", rng.choice((7, 42, 123, 4096, 20000))),
            (f"{n} == 0", f"2 * {f}({n} - 1)", rng.randint(2, 4)),
            (f"{n} < {k + 1}", f"1 + {f}({n} - {k + 1})", rng.randint(4, 9)),
        )
    )
    base_value = rng.choice((0, 1, 1, n)) if "*" not in step else 1

    def whole(base_value: object, step: str = step, call: int = call) -> str:
        return f"def {f}({n}):\n    if {base}:\n        return {base_value}\n    return {step}\n\nprint({f}({call}))"

    return ran(
        whole(base_value),
        [whole(v) for v in (0, 1, 2, n)] + [whole(base_value, call=call - 1), whole(base_value, call=call + 1)],
        [str(call), "RecursionError"],
    )


def recursion_list(rng: random.Random) -> Draft:
    f, s = rng.choice("fgh"), rng.choice("sxv")
    values = rng.sample(range(1, 7), 3)
    base, step = rng.choice(
        (
            ("0", f"1 + {f}({s}[1:])"),
            ("0", f"{s}[0] + {f}({s}[1:])"),
            ("[]", f"{f}({s}[1:]) + [{s}[0]]"),
            ("[]", f"[{s}[0]] + {f}({s}[1:])"),
            ("[]", f"[{s}[-1]] + {f}({s}[:-1])"),
            ("0", f"max({s}[0], {f}({s}[1:]))"),
            ("[]", f"[{s}[0] * 2] + {f}({s}[1:])"),
        )
    )
    code = f"def {f}({s}):\n    if not {s}:\n        return {base}\n    return {step}\n\nprint({f}({values}))"
    if base == "[]":
        extra = [
            str(values),
            str(values[::-1]),
            str([v * 2 for v in values]),
            str(sorted(values)),
            "[]",
            str(values[:1]),
            str(values[1:]),
        ]
    else:
        extra = [
            str(len(values)),
            str(sum(values)),
            str(max(values)),
            str(values[0]),
            str(values[-1]),
            str(sum(values) + 1),
            "RecursionError",
        ]
    return ran(code, [], extra)


FAMILIES = (
    Family("loop-count", "loops", loop_count),
    Family("loop-sum", "loops", loop_sum),
    Family("loop-list", "loops", loop_list),
    Family("while-loop", "loops", while_loop),
    Family("nested-loops", "loops", nested_loops),
    Family("last-value", "loops", last_value),
    Family("comprehension", "comprehensions", comprehension),
    Family("comprehension-range", "comprehensions", comprehension_range),
    Family("comprehension-words", "comprehensions", comprehension_words),
    Family("recursion", "recursion", recursion),
    Family("recursion-list", "recursion", recursion_list),
)
