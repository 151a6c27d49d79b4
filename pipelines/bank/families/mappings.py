"""Dictionaries and sets."""

from __future__ import annotations

import random

from pipelines.bank.draft import NAMES, Draft, Family, posed, ran


def _dict(rng: random.Random, size: int) -> dict[str, int]:
    return dict(zip(rng.sample("abcdefgh", size), rng.sample(range(1, 10), size), strict=True))


def dict_get(rng: random.Random) -> Draft:
    d = _dict(rng, rng.randint(2, 3))
    present = rng.random() < 0.5
    key = rng.choice(list(d)) if present else rng.choice([c for c in "abcdefgh" if c not in d])
    default = rng.choice((0, -1, 10))
    template = rng.choice(
        (
            f"$d['{key}']",
            f"$d.get('{key}')",
            f"$d.get('{key}', {default})",
            f"'{key}' in $d",
            f"$d.setdefault('{key}', {default})",
            f"$d.pop('{key}', {default})",
        )
    )
    return posed(
        rng,
        template,
        {"d": d},
        [],
        ["None", "KeyError", str(default), *map(str, d.values()), "True", "False"],
        bare=0.3,
    )


def dict_change(rng: random.Random) -> Draft:
    d, x = _dict(rng, 2), rng.choice(NAMES)
    (first, a), (last, b) = d.items()
    new = rng.choice([c for c in "abcdefgh" if c not in d])
    v = rng.randint(1, 9)
    body, show = rng.choice(
        (
            (f"{x}['{first}'] = {v}", f"len({x})"),
            (f"{x}['{new}'] = {v}", f"len({x})"),
            (f"del {x}['{first}']", f"len({x})"),
            (f"{x}['{first}'] += {v}", f"{x}['{first}']"),
            (f"{x}['{first}'] = {v}", f"{x}['{first}']"),
            (f"{x}.update({{'{last}': {v}}})", f"{x}['{last}']"),
            (f"{x}['{new}'] = {v}", f"list({x})"),
            (f"{x}['{first}'] = {v}", f"list({x})"),
            (f"{x}.pop('{last}')", f"list({x})"),
            (f"{x}['{first}'] = {v}", f"list({x}.values())"),
            (f"{x}['{new}'] = {v}", f"list({x}.values())"),
            (f"{x}['{last}'] -= {a}", f"sum({x}.values())"),
        )
    )
    head = f"{x} = {d}\n"
    if show.startswith("list") and "values" not in show:
        extra = [
            str([first, last]),
            str([first, last, new]),
            str([last, first]),
            str([new, first, last]),
            str([first]),
            str([last]),
            str([a, b]),
        ]
    elif show.startswith("list"):
        extra = [str([a, b]), str([v, b]), str([a, b, v]), str([b, v]), str([first, last]), str([v, a, b])]
    elif show.startswith("len"):
        extra = ["1", "2", "3", "4", "KeyError"]
    else:
        extra = [str(a), str(b), str(v), str(a + v), str(a + b), "KeyError"]
    rng.shuffle(extra)
    return ran(f"{head}{body}\nprint({show})", [], extra)


def dict_view(rng: random.Random) -> Draft:
    d = _dict(rng, rng.randint(2, 3))
    template, mistakes = rng.choice(
        (
            ("list($d)", ("list($d.values())", "list($d.items())", "list($d)[::-1]", "list($d)[0]", "list($d)[1:]")),
            ("list($d.values())", ("list($d)", "list($d.items())", "list($d.values())[::-1]", "sorted($d.values())")),
            (
                "sorted($d)",
                ("list($d)[::-1]", "sorted($d.values())", "sorted($d)[::-1]", "list($d)", "list($d.values())"),
            ),
            (
                "max($d)",
                ("max($d.values())", "min($d)", "max($d, key=$d.get)", "min($d, key=$d.get)", "min($d.values())"),
            ),
            ("max($d.values())", ("max($d)", "min($d.values())", "len($d)", "sum($d.values())")),
            ("max($d, key=$d.get)", ("max($d)", "min($d)", "max($d.values())", "min($d, key=$d.get)", "list($d)[0]")),
            ("sum($d.values())", ("len($d)", "max($d.values())", "sum($d.values()) + 1", "sum($d.values()) - 1")),
            ("len($d)", ("len($d) * 2", "len($d) + 1", "len($d) - 1", "max($d.values())")),
            ("list($d.items())[0]", ("list($d)[0]", "list($d.values())[0]", "list($d.items())[-1]", "list($d)[:2]")),
        )
    )
    return posed(rng, template, {"d": d}, mistakes)


def dict_count(rng: random.Random) -> Draft:
    x, d = rng.sample(NAMES, 2)
    text = "".join(rng.choices(rng.sample("abcd", 2), k=rng.randint(3, 5)))
    c = rng.choice(text)
    show = rng.choice((f"{d}['{c}']", f"len({d})", f"{d}.get('z', 0)"))
    code = f"{d} = {{}}\nfor {x} in '{text}':\n    {d}[{x}] = {d}.get({x}, 0) + 1\nprint({show})"
    return ran(code, [], [str(text.count(c)), str(len(text)), "0", "1", "2", "3", "KeyError", "None"])


def set_algebra(rng: random.Random) -> Draft:
    pool = rng.sample(range(1, 10), 4)
    a, b = set(pool[:3]), set(pool[rng.randint(1, 2) :])
    ops = ["$a | $b", "$a & $b", "$a - $b", "$a ^ $b", "$b - $a"]
    op = rng.choice(ops)
    form = rng.choice(("sorted({})", "sorted({})", "len({})"))
    others = [form.format(o) for o in ops if o != op] + ([] if form.startswith("len") else ["sorted($a)", "sorted($b)"])
    return posed(rng, form.format(op), {"a": a, "b": b}, others)


def set_methods(rng: random.Random) -> Draft:
    x = rng.choice(NAMES)
    s = rng.sample(range(1, 10), 3)
    v = rng.choice((*s, rng.randint(1, 9)))
    line = rng.choice(
        (
            f"{x}.add({v})",
            f"{x}.discard({v})",
            f"{x}.remove({v})",
            f"{x}.update([{v}, {s[0]}])",
            f"{x} |= {{{v}}}",
            f"{x} -= {{{v}}}",
        )
    )
    show = rng.choice((f"len({x})", f"sorted({x})", f"{v} in {x}"))

    def whole(body: str) -> str:
        return f"{x} = {set(s)}\n{body}\nprint({show})"

    mistakes = [
        whole(m)
        for m in (f"{x}.add({v})", f"{x}.discard({v})", f"{x}.remove({v})", "pass", f"{x}.clear()", f"{x}.pop()")
    ]
    return ran(whole(line), mistakes, ["KeyError", "True", "False", "None"])


def distinct(rng: random.Random) -> Draft:
    few = rng.sample(range(1, 10), 3)
    s = [rng.choice(few) for _ in range(rng.randint(4, 6))]
    template = rng.choice(("len(set($s))", "sorted(set($s))", "len($s) - len(set($s))", "len($s)"))
    if template.startswith("sorted"):
        return posed(
            rng,
            template,
            {"s": s},
            ["sorted($s)", "$s", "sorted(set($s))[::-1]", "sorted(set($s))[1:]", "sorted(set($s))[:-1]"],
        )
    return posed(rng, template, {"s": s}, ["len($s)", "len(set($s))", "len(set($s)) + 1", "len(set($s)) - 1"])


FAMILIES = (
    Family("dict-get", "dictionaries", dict_get),
    Family("dict-change", "dictionaries", dict_change),
    Family("dict-view", "dictionaries", dict_view),
    Family("dict-count", "dictionaries", dict_count),
    Family("set-algebra", "sets", set_algebra),
    Family("set-methods", "sets", set_methods),
    Family("distinct", "sets", distinct),
)
