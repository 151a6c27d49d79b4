"""Regular expressions: what matches, where, and how greedily."""

from __future__ import annotations

import random

from pipelines.bank.draft import Draft, Family, value
from pipelines.bank.families.words import word


def _regex(expression: str, mistakes: list[str], extra: list[str]) -> Draft:
    def run(e: str) -> str:
        return value(f"__import__('re').{e}")

    return Draft(
        "What is the value of this expression, after import re?",
        run(expression),
        (*map(run, mistakes), *extra),
        f"re.{expression}",
    )


def findall(rng: random.Random) -> Draft:
    text = "".join(rng.choice((rng.choice("abc"), str(rng.randint(1, 9)))) for _ in range(rng.randint(4, 6)))
    kinds = [r"\d", r"\d+", "[a-z]", "[a-z]+", "a", r"[a-z]\d", r"\w+", "[^a-z]+", r"\d[a-z]", "[ab]"]
    asked = rng.choice(kinds)
    others = [k for k in kinds if k != asked]
    rng.shuffle(others)
    if rng.random() < 0.25:
        return _regex(f"sub(r'{asked}', '-', '{text}')", [f"sub(r'{k}', '-', '{text}')" for k in others], [repr(text)])
    return _regex(f"findall(r'{asked}', '{text}')", [f"findall(r'{k}', '{text}')" for k in others], ["[]"])


def matches(rng: random.Random) -> Draft:
    """match anchors at the start, fullmatch at both ends, search nowhere."""
    w, n = word(rng), rng.randint(1, 99)
    text = rng.choice((w, f"{w}{n}", f"{n}{w}", f"{w} {n}", str(n)))
    pattern = rng.choice(
        (
            r"\d+",
            r"\w+",
            "[a-z]+",
            r"[a-z]+\d",
            rf"{w}",
            rf"^{w[0]}",
            rf"{w[-1]}$",
            r"\d$",
            r"^\d",
            rf"{w[:2]}.*",
            r"\s",
        )
    )
    function = rng.choice(("match", "search", "fullmatch"))
    call = f"bool({{}}(r'{pattern}', '{text}'))"
    true = value(call.format(f"__import__('re').{function}"))
    code = call.format(f"re.{function}")
    return Draft(
        "What is the value of this expression, after import re?",
        true,
        ("True", "False", "None", "ValueError", repr(text)),
        code,
    )


def greedy(rng: random.Random) -> Draft:
    a, b, c = (rng.choice("abcdxyz") for _ in range(3))
    left, right = rng.choice((("<", ">"), ("(", ")"), ("[", "]")))
    text = f"{left}{a}{right}{b}{left}{c}{right}"
    lit, rit = ("<", ">") if left == "<" else (f"\\{left}", f"\\{right}")
    patterns = [f"{lit}.*{rit}", f"{lit}.*?{rit}", f"{lit}.{rit}", ".", f"{lit}(.){rit}", "[a-z]"]
    asked = rng.choice(patterns)
    others = [p for p in patterns if p != asked]
    rng.shuffle(others)
    return _regex(f"findall(r'{asked}', '{text}')", [f"findall(r'{p}', '{text}')" for p in others], ["[]"])


def split_and_group(rng: random.Random) -> Draft:
    w, n = word(rng), rng.randint(1, 99)
    text = f"{w}={n}"
    which = rng.choice((0, 1, 2))
    groups = [repr(text), repr(w), repr(str(n)), str(n), "None", repr((w, str(n)))]
    if rng.random() < 0.6:
        return _regex(f"match(r'(\\w+)=(\\d+)', '{text}').group({which})", [], groups)
    sep, other = rng.sample((",", ";", "-"), 2)
    parts = [word(rng)[:2], str(n), word(rng)[:2]]
    joined = rng.choice(
        (sep.join(parts), parts[0] + sep + parts[1] + other + parts[2], sep.join(parts[:2]) + sep + sep + parts[2])
    )
    pattern = rng.choice((sep, f"[{sep}{other}]".replace("-", "\\-"), f"{sep}+"))
    return _regex(
        f"split(r'{pattern}', '{joined}')",
        [
            f"split(r'{p}', '{joined}')"
            for p in (sep, other, f"{sep}+", f"[{sep}{other}]".replace("-", "\\-"), r"\d+", "x+")
        ],
        [str(parts), str([joined]), str([parts[0], "", *parts[1:]])],
    )


FAMILIES = (
    Family("regex-findall", "regex", findall),
    Family("regex-match", "regex", matches),
    Family("regex-greedy", "regex", greedy),
    Family("regex-groups", "regex", split_and_group),
)
