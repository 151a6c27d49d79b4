"""String methods, operators on text, and formatting."""

from __future__ import annotations

import random

from pipelines.bank.draft import Draft, Family, posed
from pipelines.bank.families.words import word, words


def string_case(rng: random.Random) -> Draft:
    s = " ".join(words(rng, 2)) if rng.random() < 0.5 else rng.choice((str.upper, str.capitalize, str.lower))(word(rng))
    methods = ["$s.upper()", "$s.lower()", "$s.capitalize()", "$s.title()", "$s.swapcase()", "$s[::-1]"]
    asked = rng.choice(methods[:5])
    return posed(rng, asked, {"s": s}, [m for m in methods if m != asked], bare=0.6)


def string_search(rng: random.Random) -> Draft:
    s = word(rng)
    c = rng.choice(s) if rng.random() < 0.75 else "z"
    template = rng.choice(
        (
            f"$s.find('{c}')",
            f"$s.index('{c}')",
            f"$s.count('{c}')",
            f"'{c}' in $s",
            f"$s.startswith('{c}')",
            f"$s.endswith('{c}')",
        )
    )
    return posed(
        rng,
        template,
        {"s": s},
        [f"$s.find('{c}')", f"$s.find('{c}') + 1", f"$s.count('{c}')"],
        ["-1", "True", "False", "0", "ValueError", "None"],
        bare=0.6,
    )


def string_length(rng: random.Random) -> Draft:
    s, t = words(rng, 2)
    k = rng.randint(2, 3)
    template = rng.choice(
        ("len($s)", f"len($s * {k})", f"len($s + '{t}')", "len($s[1:])", f"len($s + '{'!' * k}')", "len($s[:-1])")
    )
    return posed(
        rng, template, {"s": s}, ["len($s)", "len($s) + 1", "len($s) - 1", f"len($s) + {k}", f"len($s) * {k}"], bare=0.6
    )


def split_and_join(rng: random.Random) -> Draft:
    parts = words(rng, rng.randint(2, 3))
    sep, other = rng.sample(["-", ",", " ", "/"], 2)
    joined = sep.join(parts)
    template, values, mistakes = rng.choice(
        (
            (
                f"$s.split('{sep}')",
                {"s": joined},
                (
                    "$s",
                    f"$s.split('{sep}')[::-1]",
                    f"$s.split('{other}')",
                    f"$s.split('{sep}')[0]",
                    f"$s.split('{sep}')[1:]",
                ),
            ),
            (
                f"len($s.split('{sep}'))",
                {"s": joined},
                (f"len($s.split('{sep}')) + 1", f"len($s.split('{sep}')) - 1", "1", "len($s)"),
            ),
            (
                f"$s.split('{sep}')[0]",
                {"s": joined},
                (f"$s.split('{sep}')[-1]", f"$s.split('{sep}')", "$s[0]", f"$s.split('{sep}')[1]", "$s"),
            ),
            (
                f"$s.split('{sep}')[-1]",
                {"s": joined},
                (f"$s.split('{sep}')[0]", f"$s.split('{sep}')", "$s[-1]", f"$s.split('{sep}')[1]", "$s"),
            ),
            (
                f"'{sep}'.join($s)",
                {"s": parts},
                (f"'{other}'.join($s)", "''.join($s)", f"'{sep}'.join($s[::-1])", f"'{sep}' + $s[0]", "$s"),
            ),
            (
                f"$s.replace('{sep}', '{other}')",
                {"s": joined},
                (
                    "$s",
                    f"$s.replace('{sep}', '')",
                    f"$s.replace('{sep}', '{other}', 0)[::-1]",
                    f"$s.split('{sep}')",
                    f"$s.replace('{sep}', '{other}') + '{other}'",
                ),
            ),
        )
    )
    return posed(rng, template, values, mistakes, bare=0.6)


def strip(rng: random.Random) -> Draft:
    w, c = word(rng), rng.choice("*-#.")
    s = c * rng.randint(1, 2) + w + c * rng.randint(1, 2)
    methods = [
        f"$s.strip('{c}')",
        f"$s.lstrip('{c}')",
        f"$s.rstrip('{c}')",
        "$s",
        f"$s[1:-1].replace('{w}', '{w}{c}')",
        "$s[1:]",
        "$s[:-1]",
    ]
    asked = rng.choice(methods[:3])
    return posed(rng, asked, {"s": s}, [m for m in methods if m != asked], bare=0.6)


def string_operators(rng: random.Random) -> Draft:
    a, b = words(rng, 2)
    n, k = rng.randint(2, 9), rng.randint(2, 3)
    template, values, mistakes, extra = rng.choice(
        (
            ("$s + $t", {"s": a, "t": b}, ("$t + $s", "$s + ' ' + $t", "$s", "$t"), ("TypeError",)),
            (f"$s * {k}", {"s": a}, (f"$s * {k + 1}", "$s", f"$s + '{k}'", f"[$s] * {k}"), ("TypeError",)),
            ("$s + $n", {"s": a, "n": n}, ("$s + str($n)", "$s * $n", "$s", "$n"), ("TypeError", "ValueError", "None")),
            ("$s + str($n)", {"s": a, "n": n}, ("str($n) + $s", "$s", "$n", "$s + ' ' + str($n)"), ("TypeError",)),
            ("$s == $t", {"s": a, "t": b}, (), ("True", "False", "None", "TypeError")),
            ("$s < $t", {"s": a, "t": b}, (), ("True", "False", "None", "TypeError")),
            (
                "$s[0] + $t[0]",
                {"s": a, "t": b},
                ("$t[0] + $s[0]", "$s[-1] + $t[-1]", "$s[0] * 2", "$s[0] + $t", "$s + $t[0]"),
                (),
            ),
            ("max($s, $t)", {"s": a, "t": b}, ("min($s, $t)", "$s + $t", "max($s)", "max($t)", "len($s)"), ()),
        )
    )
    return posed(rng, template, values, mistakes, extra, bare=0.5)


def number_format(rng: random.Random) -> Draft:
    n = rng.choice((rng.randint(1, 9), rng.randint(10, 99)))
    spec = rng.choice(("03d", "04d", "3d", ".1f", ".2f", "05d", "x", "b", "+d", "<4d", ".0f", "%"))
    if spec in "xb":
        n = rng.randint(2, 15)
    if spec == "%":
        n, template = rng.randint(1, 9), "f'{$n / 10:.0%}'"
        mistakes = ["f'{$n / 10}'", "f'{$n}%'", "f'{$n / 10}%'", "f'{$n * 100}%'", "f'{$n * 10}'"]
    else:
        template = "f'{$n:" + spec + "}'"
        mistakes = [
            "f'{$n:" + other + "}'"
            for other in ("03d", "04d", "d", ".1f", ".2f", "+d", "x", "b", "05d")
            if other != spec
        ]
        rng.shuffle(mistakes)
    # A padded string differs from its neighbours only in spaces, which a printed line does not show: pose it bare.
    return posed(rng, template, {"n": n}, mistakes, bare=1.0 if spec in ("3d", "<4d") else 0.4)


def f_string(rng: random.Random) -> Draft:
    a, b, w = rng.randint(1, 9), rng.randint(1, 9), word(rng)
    template, values, mistakes = rng.choice(
        (
            ("f'{$a}{$b}'", {"a": a, "b": b}, ("$a + $b", "f'{$b}{$a}'", "f'{$a} {$b}'", "f'{$a * $b}'", "'{a}{b}'")),
            (
                "f'{$a}+{$b}'",
                {"a": a, "b": b},
                ("f'{$a + $b}'", "f'{$a}{$b}'", "f'{$b}+{$a}'", "f'{$a}+{$b}={$a + $b}'"),
            ),
            (
                "f'{$a + $b}'",
                {"a": a, "b": b},
                ("f'{$a}{$b}'", "f'{$a}+{$b}'", "f'{$a + $b + 1}'", "'{a + b}'", "f'{$a - $b}'"),
            ),
            ("'{}-{}'.format($a, $b)", {"a": a, "b": b}, ("f'{$b}-{$a}'", "f'{$a - $b}'", "f'{$a}{$b}'", "'{}-{}'")),
            (
                "'{1}-{0}'.format($a, $b)",
                {"a": a, "b": b},
                ("f'{$a}-{$b}'", "f'{$b - $a}'", "f'{$b}{$a}'", "'1-0'", "'{1}-{0}'"),
            ),
            (
                "'%d of %d' % ($a, $b)",
                {"a": a, "b": b},
                ("f'{$b} of {$a}'", "f'{$a} {$b}'", "f'{$a % $b}'", "'%d of %d'"),
            ),
            (f"f'{w}{{$a}}'", {"a": a}, (f"'{w}'", f"f'{w} {{$a}}'", f"f'{{$a}}{w}'", f"'{w}' + 'a'", f"'{w}' * 2")),
        )
    )
    return posed(rng, template, values, mistakes, bare=0.2)


FAMILIES = (
    Family("string-case", "strings", string_case),
    Family("string-search", "strings", string_search),
    Family("string-length", "strings", string_length),
    Family("split-and-join", "strings", split_and_join),
    Family("strip", "strings", strip),
    Family("string-operators", "strings", string_operators),
    Family("number-format", "formatting", number_format),
    Family("f-string", "formatting", f_string),
)
