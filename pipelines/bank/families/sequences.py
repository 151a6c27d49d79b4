"""Lists and slices: indexing, slicing, methods and what they return."""

from __future__ import annotations

import random

from pipelines.bank.draft import NAMES, Draft, Family, posed, ran
from pipelines.bank.families.words import word


def digits(rng: random.Random, low: int = 3, high: int = 5) -> list[int]:
    return rng.sample(range(1, 10), rng.randint(low, high))


def list_slice(rng: random.Random) -> Draft:
    s = rng.sample(range(1, 10), 5)
    i, j = rng.randint(0, 2), rng.randint(3, 4)
    template, mistakes = rng.choice(
        (
            (
                f"$s[{i}:{j}]",
                (f"$s[{i}:{j + 1}]", f"$s[{i + 1}:{j}]", f"$s[{i + 1}:{j + 1}]", f"$s[{i}:{j - 1}]", f"$s[:{j}]"),
            ),
            (f"$s[:{j}]", (f"$s[{j}:]", f"$s[:{j + 1}]", f"$s[:{j - 1}]", f"$s[1:{j}]", f"$s[-{j}:]")),
            (f"$s[{i + 1}:]", (f"$s[:{i + 1}]", f"$s[{i}:]", f"$s[{i + 2}:]", f"$s[-{i + 1}:]")),
            (f"$s[-{i + 1}:]", (f"$s[:-{i + 1}]", f"$s[-{i + 2}:]", f"$s[{i + 1}:]", f"$s[:{i + 1}]")),
            (f"$s[:-{i + 1}]", (f"$s[-{i + 1}:]", f"$s[:{i + 1}]", f"$s[:-{i + 2}]", f"$s[{i + 1}:]")),
            ("$s[::2]", ("$s[1::2]", "$s[:2]", "$s[2:]", "$s[::-1]")),
            ("$s[1::2]", ("$s[::2]", "$s[:2]", "$s[2:]", "$s[1:]")),
            ("$s[::-1]", ("$s", "sorted($s)", "$s[:-1]", "$s[-1:]", "sorted($s)[::-1]")),
        )
    )
    return posed(rng, template, {"s": s}, mistakes)


def list_index(rng: random.Random) -> Draft:
    s = rng.sample(range(1, 10), rng.randint(4, 5))
    i = rng.choice((0, 1, 2, 3, -1, -2, -3))
    every = [f"$s[{k}]" for k in (i + 1 if i + 1 < len(s) else 0, i - 1, -i - 1, 0, 1, 2)]
    return posed(rng, f"$s[{i}]", {"s": s}, every, ["IndexError"])


def string_slice(rng: random.Random) -> Draft:
    s = word(rng)
    i, j = rng.randint(0, 1), rng.randint(2, 3)
    template, mistakes = rng.choice(
        (
            (f"$s[{i}]", (f"$s[{i + 1}]", f"$s[-{i + 1}]", f"$s[{i + 2}]", "$s[-1]")),
            (f"$s[-{j}]", (f"$s[{j}]", f"$s[-{j - 1}]", f"$s[-{j + 1}]", "$s[0]")),
            (f"$s[{i}:{j}]", (f"$s[{i}:{j + 1}]", f"$s[{i + 1}:{j}]", f"$s[{i + 1}:{j + 1}]", f"$s[:{j}]")),
            (f"$s[:{j}]", (f"$s[{j}:]", f"$s[:{j + 1}]", f"$s[:{j - 1}]", f"$s[-{j}:]")),
            (f"$s[-{j}:]", (f"$s[:-{j}]", f"$s[{j}:]", f"$s[-{j - 1}:]", f"$s[:{j}]")),
            ("$s[::-1]", ("$s", "$s[:-1]", "$s[1:]", "''.join(sorted($s))", "$s[-1] + $s[1:]")),
        )
    )
    return posed(rng, template, {"s": s}, mistakes)


def list_change(rng: random.Random) -> Draft:
    x, s = rng.choice(NAMES), digits(rng, 3, 4)
    v = rng.choice([d for d in range(1, 10) if d not in s])
    i = rng.randint(0, 2)
    lines = {
        "append": f"{x}.append({v})",
        "insert": f"{x}.insert({i}, {v})",
        "insert1": f"{x}.insert({i + 1}, {v})",
        "pop": f"{x}.pop()",
        "pop0": f"{x}.pop({i})",
        "remove": f"{x}.remove({s[i]})",
        "del": f"del {x}[{i}]",
        "del1": f"del {x}[{(i + 1) % len(s)}]",
        "reverse": f"{x}.reverse()",
        "set": f"{x}[{i}] = {v}",
        "set1": f"{x}[{(i + 1) % len(s)}] = {v}",
        "add": f"{x} += [{v}, {v}]",
        "front": f"{x}.insert(0, {v})",
        "nothing": "pass",
        "sort": f"{x}.sort()",
        "setneg": f"{x}[-1] = {v}",
    }
    asked = rng.choice([k for k in lines if k not in ("nothing", "insert1", "del1", "set1")])
    show = rng.choice((x, x, x, f"len({x})", f"{x}[-1]", f"{x}[0]"))

    def whole(key: str) -> str:
        return f"{x} = {s}\n{lines[key]}\nprint({show})"

    near = {
        "insert": ["insert1", "set"],
        "pop0": ["del1", "pop"],
        "set": ["set1", "insert"],
        "remove": ["del1", "pop"],
        "del": ["del1", "pop"],
    }
    others = [k for k in lines if k != asked]
    rng.shuffle(others)
    return ran(whole(asked), [whole(k) for k in (*near.get(asked, []), *others)])


def list_ask(rng: random.Random) -> Draft:
    s = [rng.randint(1, 6) for _ in range(rng.randint(4, 6))]
    v = rng.choice(s)
    template = rng.choice(
        (
            f"$s.index({v})",
            f"$s.count({v})",
            "len($s)",
            "max($s)",
            "min($s)",
            f"$s.index({s[-1]})",
            "len(set($s))",
            "sum($s[:2])",
        )
    )
    return posed(
        rng,
        template,
        {"s": s},
        [f"$s.index({v})", f"$s.count({v})", "len($s)", "max($s)", "$s[0]", "$s[-1]", "len(set($s))"],
    )


def list_returns(rng: random.Random) -> Draft:
    x, y = rng.sample(NAMES, 2)
    s, v = digits(rng, 3, 4), rng.randint(1, 9)
    call = rng.choice(
        (
            f"{x}.append({v})",
            f"{x}.sort()",
            f"{x}.reverse()",
            f"{x}.extend([{v}])",
            f"sorted({x})",
            f"{x}.pop()",
            f"{x}.copy()",
            f"{x} + [{v}]",
            f"{x}.pop(0)",
        )
    )
    head = f"{x} = {s}\n{y} = "
    mistakes = [
        f"{x} = {s}\n{line}\nprint({x})" for line in (f"{x}.append({v})", f"{x}.sort()", f"{x}.reverse()", "pass")
    ]
    return ran(f"{head}{call}\nprint({y})", mistakes, ["None", str(s[-1]), str(s[0])])


def list_operators(rng: random.Random) -> Draft:
    a, b = digits(rng, 2, 3), digits(rng, 1, 2)
    template, mistakes = rng.choice(
        (
            ("$a + $b", ("$b + $a", "[$a, $b]", "$a", "sum($a) + sum($b)")),
            ("$a * 2", ("[i * 2 for i in $a]", "$a", "[$a, $a]", "[i + 2 for i in $a]")),
            ("[$a, $b]", ("$a + $b", "$b + $a", "[$b, $a]", "($a, $b)")),
            ("len($a + $b)", ("len($a)", "len($b)", "2", "len($a) * 2", "len($a) + len($b) + 1")),
            ("len([$a, $b])", ("len($a)", "len($a + $b)", "1", "3", "len($a) + 3")),
            ("len($a * 3)", ("len($a)", "len($a) * 2", "len($a) + 3", "3", "1")),
            ("list(zip($a, $b))", ("list(zip($b, $a))", "$a + $b", "[$a, $b]", "list(zip($a, $a))")),
        )
    )
    values = {"a": a, "b": b} if "$b" in template else {"a": a}
    return posed(rng, template, values, [m for m in mistakes if "$b" in template or "$b" not in m])


def ranges(rng: random.Random) -> Draft:
    a, n = rng.randint(0, 5), rng.randint(2, 5)
    template = rng.choice(
        (
            "list(range($n))",
            "list(range($a, $a + $n))",
            "list(range(1, $n))",
            "list(range($a, $a + 6, 2))",
            "list(range($n, 0, -1))",
            "len(range($a, $a + $n))",
        )
    )
    if template.startswith("len"):
        mistakes = ["$n + 1", "$n - 1", "$a", "$a + $n", "$n + 2"]
    elif "-1" in template:
        mistakes = [
            "list(range($n, -1, -1))",
            "list(range($n - 1, -1, -1))",
            "list(range(1, $n + 1))",
            "list(range($n))",
        ]
    elif ", 2" in template:
        mistakes = [
            "list(range($a, $a + 8, 2))",
            "list(range($a, $a + 6))",
            "list(range($a + 2, $a + 8, 2))",
            "[$a, $a + 6, 2]",
        ]
    elif "1, " in template:
        mistakes = ["list(range($n))", "list(range(1, $n + 1))", "list(range($n + 1))", "[1, $n]"]
    elif "$a" in template:
        mistakes = [
            "list(range($a, $a + $n + 1))",
            "list(range($a + 1, $a + $n))",
            "list(range($a + 1, $a + $n + 1))",
            "[$a, $a + $n]",
        ]
    else:
        mistakes = ["list(range(1, $n + 1))", "list(range($n + 1))", "list(range(1, $n))", "[$n]"]
    used = {k: v for k, v in {"a": a, "n": n}.items() if f"${k}" in template}
    return posed(rng, template, used, mistakes)


FAMILIES = (
    Family("list-slice", "slicing", list_slice),
    Family("list-index", "slicing", list_index),
    Family("string-slice", "slicing", string_slice),
    Family("list-change", "lists", list_change),
    Family("list-ask", "lists", list_ask),
    Family("list-returns", "lists", list_returns),
    Family("list-operators", "lists", list_operators),
    Family("ranges", "lists", ranges),
)
