"""Scope, aliasing, mutability, closures, default arguments; sorting."""

from __future__ import annotations

import random

from pipelines.bank.draft import NAMES, Draft, Family, posed, ran
from pipelines.bank.families.words import words


def aliasing(rng: random.Random) -> Draft:
    x, y = rng.sample(NAMES, 2)
    s, v = rng.sample(range(1, 10), rng.randint(2, 3)), rng.randint(1, 9)
    copies = (x, x, f"{x}[:]", f"{x}.copy()", f"list({x})", f"sorted({x})", f"{x} + []")
    taken = rng.choice(copies)
    change = rng.choice(
        (
            f"{y}.append({v})",
            f"{y}[0] = {v}",
            f"{y} = {y} + [{v}]",
            f"{y} += [{v}]",
            f"{y}.pop()",
            f"{y} = []",
            f"{x}.append({v})",
            f"{x}[0] = {v}",
            f"{y}.clear()",
        )
    )
    shown = rng.choice((x, x, y))

    def whole(taken: str, change: str) -> str:
        return f"{x} = {s}\n{y} = {taken}\n{change}\nprint({shown})"

    mistakes = [
        whole(x, change),
        whole(f"{x}[:]", change),
        whole(x, "pass"),
        whole(x, f"{x}.append({v})"),
        whole(x, f"{x}[0] = {v}"),
    ]
    return ran(whole(taken, change), mistakes, [str([*s, v, v]), str(s[:-1]), "[]", str([v])])


def same_object(rng: random.Random) -> Draft:
    x, y = rng.sample(NAMES, 2)
    s = rng.sample(range(1, 10), 2)
    taken = rng.choice((x, f"{x}[:]", f"list({x})", str(s), str(s[::-1]), f"{x}.copy()"))
    code = f"{x} = {s}\n{y} = {taken}\nprint({x} == {y}, {x} is {y})"
    return ran(code, [], ["True True", "True False", "False False", "False True"])


def rebinding(rng: random.Random) -> Draft:
    x, y = rng.sample(NAMES, 2)
    a, b, c = rng.sample(range(1, 10), 3)
    change = rng.choice((f"{x} = {b}", f"{x} += {b}", f"{y} = {b}", f"{y} += {b}", f"{x}, {y} = {y}, {b}"))
    shown = rng.choice((x, y))
    return ran(f"{x} = {a}\n{y} = {x}\n{change}\nprint({shown})", [], [str(a), str(b), str(a + b), str(c), "NameError"])


def function_scope(rng: random.Random) -> Draft:
    x, f = rng.choice(NAMES), rng.choice("fgh")
    a, b = rng.sample(range(1, 10), 2)
    body, call = rng.choice(
        (
            (f"def {f}():\n    {x} = {b}", f"{f}()"),
            (f"def {f}():\n    global {x}\n    {x} = {b}", f"{f}()"),
            (f"def {f}():\n    global {x}\n    {x} += {b}", f"{f}()"),
            (f"def {f}():\n    {x} += {b}", f"{f}()"),
            (f"def {f}({x}):\n    {x} = {b}", f"{f}({x})"),
            (f"def {f}({x}):\n    {x} += {b}", f"{f}({x})"),
            (f"def {f}({x}):\n    return {x} + {b}", f"{f}({x})"),
            (f"def {f}({x}):\n    return {x} + {b}", f"{x} = {f}({x})"),
            (f"def {f}({x}):\n    {x} + {b}", f"{x} = {f}({x})"),
            (f"def {f}():\n    return {x} + {b}", f"{x} = {f}()"),
        )
    )
    return ran(
        f"{x} = {a}\n{body}\n{call}\nprint({x})",
        [],
        [str(a), str(b), str(a + b), "None", "UnboundLocalError", "NameError"],
    )


def mutable_argument(rng: random.Random) -> Draft:
    x, f, p = *rng.sample(NAMES, 1), *rng.sample("fgh", 1), rng.choice("abc")
    s, v = rng.sample(range(1, 10), 2), rng.randint(1, 9)
    body = rng.choice(
        (
            f"{p}.append({v})",
            f"{p} = {p} + [{v}]",
            f"{p} += [{v}]",
            f"{p}[0] = {v}",
            f"{p} = [{v}]",
            f"{p}.pop()",
            f"{p} = sorted({p})",
        )
    )
    code = f"{x} = {s}\ndef {f}({p}):\n    {body}\n{f}({x})\nprint({x})"
    return ran(code, [], [str(s), str([*s, v]), str([v, s[1]]), str([v]), str(s[:1]), str(s[::-1]), "None"])


def default_argument(rng: random.Random) -> Draft:
    f, p, q = rng.choice("fgh"), *rng.sample(NAMES, 2)
    a, b = rng.sample(range(1, 10), 2)
    kind = rng.random()
    body = f"    {q}.append({p})\n    return {q}\n\n"
    if kind < 0.4:
        code = f"def {f}({p}, {q}=[]):\n{body}{f}({a})\nprint({f}({b}))"
    elif kind < 0.7:
        code = f"def {f}({p}, {q}=None):\n    {q} = {q} or []\n{body}{f}({a})\nprint({f}({b}))"
    else:
        code = f"def {f}({p}, {q}=[]):\n{body}{f}({a}, [])\nprint({f}({b}))"
    return ran(code, [], [str([b]), str([a, b]), str([b, a]), str([a]), "None", str([b, b])])


def default_number(rng: random.Random) -> Draft:
    f, p, q = rng.choice("fgh"), *rng.sample(NAMES, 2)
    a, b, d = rng.sample(range(1, 10), 3)
    op = rng.choice("+-")
    call = rng.choice(
        (f"{f}({a})", f"{f}({a}, {b})", f"{f}({q}={b}, {p}={a})", f"{f}({a}, {q}={b})", f"{f}({p}={a})", f"{f}()")
    )
    code = f"def {f}({p}, {q}={d}):\n    return {p} {op} {q}\n\nprint({call})"
    sign = 1 if op == "+" else -1
    return ran(
        code, [], [str(a + sign * d), str(a + sign * b), str(b + sign * a), "TypeError", str(a), str(b + sign * d)]
    )


def closures(rng: random.Random) -> Draft:
    n, i = rng.randint(2, 4), rng.choice("ijk")
    x, f = rng.choice(NAMES), rng.choice("fgh")
    a, b = rng.sample(range(1, 10), 2)
    code = rng.choice(
        (
            f"{f} = [lambda: {i} for {i} in range({n})]\nprint([g() for g in {f}])",
            f"{f} = [lambda {i}={i}: {i} for {i} in range({n})]\nprint([g() for g in {f}])",
            f"{x} = {a}\n{f} = lambda: {x}\n{x} = {b}\nprint([{f}()] * {n})",
            f"{x} = {a}\n{f} = lambda {x}={x}: {x}\n{x} = {b}\nprint([{f}()] * {n})",
            f"{x} = {a}\n{f} = lambda {x}: {x}\nprint([{f}({b})] * {n})",
        )
    )
    return ran(
        code,
        [],
        [str(list(range(n))), str([n - 1] * n), str([n] * n), str([a] * n), str([b] * n), str([0] * n), "NameError"],
    )


def sort_list(rng: random.Random) -> Draft:
    s = rng.sample(range(1, 10), rng.randint(3, 4))
    template = rng.choice(
        (
            "sorted($s)",
            "sorted($s, reverse=True)",
            "sorted($s)[0]",
            "sorted($s)[-1]",
            "sorted($s)[1]",
            "sorted($s)[:2]",
            "sorted($s)[-2]",
            "$s[::-1]",
            "sorted($s, key=lambda i: -i)",
        )
    )
    if template.endswith((")", "$s[::-1]")):
        return posed(rng, template, {"s": s}, ["sorted($s)", "sorted($s)[::-1]", "$s", "$s[::-1]", "sorted($s)[1:]"])
    if "[:2]" in template:
        return posed(
            rng,
            template,
            {"s": s},
            ["$s[:2]", "sorted($s)[-2:]", "sorted($s)[1:3]", "sorted($s)[::-1][:2]", "sorted($s)"],
        )
    return posed(
        rng, template, {"s": s}, ["sorted($s)[0]", "sorted($s)[-1]", "sorted($s)[1]", "$s[0]", "$s[-1]", "$s[1]"]
    )


def sort_words(rng: random.Random) -> Draft:
    s = words(rng, 3)
    keys = (
        "sorted($s)",
        "sorted($s, key=len)",
        "sorted($s, reverse=True)",
        "sorted($s, key=len, reverse=True)",
        "sorted($s, key=lambda i: i[-1])",
    )
    if rng.random() < 0.35:
        ends = ("max($s, key=len)", "min($s, key=len)", "max($s)", "min($s)")
        return posed(rng, rng.choice(ends), {"s": s}, [*ends, "len(max($s, key=len))"], ["None"])
    asked = rng.choice(keys)
    return posed(rng, asked, {"s": s}, [*(k for k in keys if k != asked), "$s", "$s[::-1]"])


def sort_pairs(rng: random.Random) -> Draft:
    pairs = list(zip(rng.sample("abcd", 3), rng.sample(range(1, 10), 3), strict=True))
    keys: tuple[str, ...] = (
        "sorted($s)",
        "sorted($s, key=lambda i: i[1])",
        "sorted($s, key=lambda i: -i[1])",
        "sorted($s, reverse=True)",
    )
    asked = rng.choice(keys)
    if rng.random() < 0.5:
        asked, keys = f"[i[0] for i in {asked}]", tuple(f"[i[0] for i in {k}]" for k in keys)
        return posed(
            rng,
            asked,
            {"s": pairs},
            [*(k for k in keys if k != asked), "[i[0] for i in $s]", "[i[0] for i in $s[::-1]]"],
        )
    asked = rng.choice(
        ("min($s)", "max($s)", "max($s, key=lambda i: i[1])", "min($s, key=lambda i: i[1])", "sorted($s)[1]")
    )
    return posed(
        rng, asked, {"s": pairs}, [f"$s[{k}]" for k in rng.sample(range(3), 3)], [str(pairs[0][::-1]), str(pairs[1][0])]
    )


def sort_in_place(rng: random.Random) -> Draft:
    x, y = rng.sample(NAMES, 2)
    s = rng.sample(range(1, 10), 3)
    body = rng.choice(
        (
            f"{y} = {x}.sort()",
            f"{y} = sorted({x})",
            f"{x}.sort()\n{y} = {x}",
            f"{y} = {x}\n{x}.sort(reverse=True)",
            f"{y} = {x}.reverse()",
            f"{y} = {x}[::-1]",
        )
    )
    code = f"{x} = {s}\n{body}\nprint({rng.choice((x, y))})"
    return ran(code, [], ["None", str(s), str(sorted(s)), str(sorted(s, reverse=True)), str(s[::-1])])


FAMILIES = (
    Family("aliasing", "aliasing", aliasing),
    Family("same-object", "aliasing", same_object),
    Family("rebinding", "aliasing", rebinding),
    Family("mutable-argument", "aliasing", mutable_argument),
    Family("function-scope", "scope", function_scope),
    Family("default-argument", "scope", default_argument),
    Family("default-number", "scope", default_number),
    Family("closures", "scope", closures),
    Family("sort-list", "sorting", sort_list),
    Family("sort-words", "sorting", sort_words),
    Family("sort-pairs", "sorting", sort_pairs),
    Family("sort-in-place", "sorting", sort_in_place),
)
