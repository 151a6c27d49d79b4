"""Bit operations on small integers, and numbers in base two and sixteen."""

from __future__ import annotations

import random

from pipelines.bank.draft import Draft, Family, posed


def bitwise(rng: random.Random) -> Draft:
    op = rng.choice("&|^")
    values = {"a": rng.randint(1, 15), "b": rng.randint(1, 15)}
    return posed(
        rng, f"$a {op} $b", values, [*(f"$a {o} $b" for o in "&|^" if o != op), "$a + $b", "abs($a - $b)", "$a"]
    )


def shifts(rng: random.Random) -> Draft:
    op = rng.choice(("<<", ">>"))
    values = {"a": rng.randint(1, 20) if op == "<<" else rng.randint(4, 40), "b": rng.randint(1, 3)}
    return posed(rng, f"$a {op} $b", values, ["$a << $b", "$a >> $b", "$a * $b", "$a // $b", "$a ** $b", "$a + $b"])


def masks(rng: random.Random) -> Draft:
    """Test, set, clear and flip one bit."""
    values = {"a": rng.randint(1, 15), "b": rng.randint(0, 3)}
    forms = [
        "$a & (1 << $b)",
        "$a | (1 << $b)",
        "$a ^ (1 << $b)",
        "$a & ~(1 << $b)",
        "($a >> $b) & 1",
        "~$a + $b",
        "$a & -$a",
    ]
    asked = rng.choice(forms)
    used = {k: v for k, v in values.items() if f"${k}" in asked}
    return posed(
        rng, asked, used, [f for f in forms if f != asked and ("$b" in asked or "$b" not in f)], ["0", "1", "2"]
    )


def bases(rng: random.Random) -> Draft:
    n = rng.randint(2, 15)
    template, mistakes = rng.choice(
        (
            ("bin($n)", ("hex($n)", "bin($n + 1)", "bin($n - 1)", "bin($n)[2:]", "oct($n)")),
            ("hex($n)", ("bin($n)", "hex($n + 1)", "hex($n - 1)", "oct($n + 8)", "str($n)")),
            ("bin($n).count('1')", ("len(bin($n)) - 2", "len(bin($n))", "$n", "bin($n).count('0')")),
            ("$n.bit_length()", ("bin($n).count('1')", "$n", "$n.bit_length() + 2", "$n.bit_length() - 1")),
            ("~$n", ("-$n", "$n", "-$n + 1", "$n ^ 15")),
            ("int(bin($n), 2)", ("bin($n)", "$n * 2", "$n + 2", "bin($n)[2:]", "$n - 1")),
            ("$n & 1", ("$n", "$n | 1", "1 - ($n & 1)", "2", "$n >> 1")),
        )
    )
    return posed(rng, template, {"n": n}, mistakes)


FAMILIES = (
    Family("bitwise", "bit-operations", bitwise),
    Family("shifts", "bit-operations", shifts),
    Family("masks", "bit-operations", masks),
    Family("bases", "bit-operations", bases),
)
