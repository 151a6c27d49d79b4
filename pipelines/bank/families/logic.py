"""Boolean logic and short circuit, truthiness, exceptions, and what try, except and finally do."""

from __future__ import annotations

import random

from pipelines.bank.draft import NAMES, PRINTS_LINES, Draft, Family, outcome, posed, ran
from pipelines.bank.families.words import word

THINGS: tuple[object, ...] = (0, 1, 2, 3, 5, 7, "", "a", "b", [], [0], None, True, False, {}, 0.0, ())


def short_circuit(rng: random.Random) -> Draft:
    """`and` and `or` return an operand, not a truth value."""
    a, b, c = rng.sample(THINGS, 3)
    template = rng.choice(
        (
            "$a or $b",
            "$a and $b",
            "$a or $b or $c",
            "$a and $b and $c",
            "$a and $b or $c",
            "$a or $b and $c",
            "not $a or $b",
        )
    )
    values = {k: v for k, v in {"a": a, "b": b, "c": c}.items() if f"${k}" in template}
    return posed(
        rng, template, values, ["$a", "$b"] + (["$c"] if "c" in values else []), ["True", "False", "None"], bare=0.8
    )


def truthiness(rng: random.Random) -> Draft:
    a = rng.choice(
        (*THINGS, " ", "0", "False", [None], rng.randint(1, 99), [rng.randint(0, 9)], {rng.randint(1, 9): 0})
    )
    x = rng.choice(NAMES)
    one, two = word(rng), word(rng)
    if one == two:
        two = two + "s"
    form = rng.choice((f"if {x}:", f"if not {x}:"))
    code = f"{x} = {a!r}\n{form}\n    print('{one}')\nelse:\n    print('{two}')"
    return ran(code, [], [one, two, f"{one} {two}", "TypeError", "None"])


def truth_tables(rng: random.Random) -> Draft:
    """Three truth values; the choices are the results of four expressions on them, so that one line is one value."""
    p, q, r = rng.sample(NAMES, 3)
    values = [rng.random() < 0.5 for _ in range(3)]
    forms = [
        "{p} and {q}",
        "{p} or {q}",
        "not {p}",
        "{p} and not {q}",
        "{p} == {q}",
        "{p} or {r}",
        "{q} and {r}",
        "not {r}",
        "{p} != {r}",
    ]
    first, second = rng.sample(forms, 2)
    one, two = (form.format(p=p, q=q, r=r) for form in (first, second))
    code = f"{p}, {q}, {r} = {values[0]}, {values[1]}, {values[2]}\nprint({one}, {two})"
    return ran(code, [], ["True True", "True False", "False True", "False False"])


def conditions(rng: random.Random) -> Draft:
    x = rng.choice(NAMES)
    n, a, b = rng.randint(1, 9), rng.randint(1, 4), rng.randint(5, 9)
    one, two, three, four = rng.sample(("low", "mid", "high", "none", "even", "odd"), 4)
    op = rng.choice((">", ">=", "<", "<="))
    rest = f"print('{two}')\nelse:\n    print('{three}')"
    body = rng.choice(
        (
            f"if {x} {op} {b}:\n    print('{one}')\nelif {x} {op} {a}:\n    {rest}",
            f"if {a} < {x} < {b}:\n    print('{one}')\nelif {x} == {a}:\n    {rest}",
            f"if {x} {op} {a} and {x} {op} {b}:\n    print('{one}')\nelif {x} % 2 == 0:\n    {rest}",
            f"print('{one}' if {x} {op} {a} else '{two}' if {x} {op} {b} else '{three}')",
        )
    )
    return ran(f"{x} = {n}\n{body}", [], [one, two, three, four])


EXCEPTIONS = (
    "TypeError",
    "ValueError",
    "IndexError",
    "KeyError",
    "ZeroDivisionError",
    "NameError",
    "AttributeError",
    "UnboundLocalError",
    "RecursionError",
    "StopIteration",
)


def _failing(rng: random.Random) -> str:
    x, n, w, v = rng.choice(NAMES), rng.randint(1, 9), word(rng), rng.randint(0, 9)
    s = rng.sample(range(1, 10), rng.randint(2, 4))
    return rng.choice(
        (
            f"{x} = {s}\n{x}[{len(s) + rng.randint(0, 3)}]",
            f"{x} = {s}\n{x}[{rng.randint(0, len(s) - 1)}]",
            f"{x} = {{'{w}': {n}}}\n{x}['{word(rng)}']",
            f"{x} = '{w}'\n{x} + {n}",
            f"{x} = '{w}'\n{x} * {n}",
            f"int('{w}')",
            f"int('{n}{v}')",
            f"{n} / {rng.choice((0, 0, v))}",
            f"{n} % {rng.choice((0, 0, v))}",
            f"{x} = {n}\n{x}.append({v})",
            f"{x} = None\n{x}.{rng.choice(('append', 'upper', 'pop'))}({v})",
            f"{x} = {n}\nlen({x})",
            f"{x} = {s}\n{x}.remove({v})",
            f"{x} = {s}\n{x}.index({v})",
            f"{x} = '{w}'\n{x}.{rng.choice(('push', 'append', 'upper', 'reverse'))}()",
            f"{x} = ({n}, {v})\n{x}[0] = {n}",
            f"{x} = '{w}'\n{x}[0] = 'a'",
            f"{x}, z1 = {s}",
            f"print({x})",
            f"def f({x}):\n    return {x}\nf({n}, {v})",
            f"def f({x}):\n    return {x}\nf()",
            f"{x} = {n}\ndef f():\n    {x} += 1\nf()",
            f"def f({x}):\n    return f({x} + {n})\nf({v})",
            f"next(iter([]))\n{x} = {n}",
            f"float('{w}')",
            f"{x} = [{n}]\n{x}['{w}']",
            f"{x} = {{}}\n{x}[[{n}]] = {v}",
            f"{x} = {n}\n{x}()",
            f"[].pop()\n{x} = {v}",
            f"{{}}.pop('{w}')\n{x} = {v}",
            f"{x} = {{'{w}': {n}}}\n{x}.{w}",
            f"{x} = [{n}] + {v}",
            f"{x} = '{n}' + '{v}'",
            f"{x} = {n}\nfor i in {x}:\n    pass",
            f"{x} = '{w}'\nfor i in {x}:\n    pass",
        )
    )


def raised(rng: random.Random) -> Draft:
    body = _failing(rng)
    result = "NameError" if body.startswith("print(") else outcome(body) or "no exception"
    others = [e for e in EXCEPTIONS if e != result]
    rng.shuffle(others)
    return Draft("Which exception does this code raise?", result, ("no exception", *others), body)


def handled(rng: random.Random) -> Draft:
    risky = _failing(rng)
    while risky.startswith(("def", "print")):
        risky = _failing(rng)
    body = "\n".join("    " + line for line in risky.splitlines())
    caught = rng.choice(("ValueError", "TypeError", "KeyError", "IndexError", "ZeroDivisionError", "Exception"))
    a, b, c = rng.sample(("a", "b", "c", "d"), 3)
    form = rng.choice(("plain", "finally", "else"))
    code = f"try:\n{body}\n    print('{a}')\nexcept {caught}:\n    print('{b}')"
    if form == "finally":
        code += f"\nfinally:\n    print('{c}')"
    elif form == "else":
        code += f"\nelse:\n    print('{c}')"
    error = outcome(risky)
    return ran(
        code,
        [],
        [a, b, f"{a} {c}", f"{b} {c}", f"{a} {b}", c, error or "TypeError", f"{c} {error or 'TypeError'}"],
        PRINTS_LINES,
    )


def finally_returns(rng: random.Random) -> Draft:
    f = rng.choice("fgh")
    a, b, c = rng.sample(range(1, 10), 3)
    risky = rng.choice(("", f"        {a} / 0\n", "        int('x')\n"))
    caught = rng.choice(("ZeroDivisionError", "ValueError", "Exception"))
    final = rng.choice((f"return {c}", "pass", f"print({c})"))
    tried = (
        f"    try:\n{risky}        return {a}\n    except {caught}:\n        return {b}\n    finally:\n        {final}"
    )
    code = f"def {f}():\n{tried}\n\nprint({f}())"
    return ran(
        code,
        [],
        [str(a), str(b), str(c), f"{c} {a}", f"{c} {b}", "None", "ZeroDivisionError", "ValueError"],
        PRINTS_LINES,
    )


FAMILIES = (
    Family("short-circuit", "boolean-logic", short_circuit),
    Family("truthiness", "boolean-logic", truthiness),
    Family("truth-tables", "boolean-logic", truth_tables),
    Family("conditions", "boolean-logic", conditions),
    Family("raised", "exceptions", raised),
    Family("handled", "exceptions", handled),
    Family("finally-returns", "exceptions", finally_returns),
)
