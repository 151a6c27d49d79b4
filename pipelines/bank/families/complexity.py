"""Asymptotic cost: the steps are counted by running the code at growing n, and the class is the one that fits."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable
from string import Template

from pipelines.bank.draft import Draft, Family

STEM = "What is the time complexity of f in terms of n?"
CLASSES: dict[str, Callable[[int], float]] = {
    "O(1)": lambda n: 1.0,
    "O(log n)": math.log2,
    "O(n)": float,
    "O(n log n)": lambda n: n * math.log2(n),
    "O(n ** 2)": lambda n: float(n) ** 2,
    "O(n ** 3)": lambda n: float(n) ** 3,
    "O(2 ** n)": lambda n: 2.0**n,
}
SIZES = (16, 32, 64)
SMALL = (6, 9, 12)

# $k is a small constant; it never changes the class. $i, $j and $c are names, $w is constant work.
SHAPES = (
    "def f(n):\n    $w\n    return n * $k",
    "def f(n):\n    for $i in range($k):\n        $w",
    "def f(n):\n    $c = n\n    while $c > 1:\n        $w\n        $c //= 2",
    "def f(n):\n    $c = 1\n    while $c < n:\n        $w\n        $c *= 2",
    "def f(n):\n    if n > 1:\n        $w\n        f(n // 2)",
    "def f(n):\n    for $i in range(n):\n        $w",
    "def f(n):\n    for $i in range($k * n):\n        $w",
    "def f(n):\n    for $i in range(n):\n        for $j in range($k):\n            $w",
    "def f(n):\n    for $i in range(n):\n        $w\n    for $j in range(n):\n        $w",
    "def f(n):\n    $c = n\n    while $c > 0:\n        $w\n        $c -= 1",
    "def f(n):\n    if n > 0:\n        $w\n        f(n - 1)",
    "def f(n):\n    for $i in range(n):\n        $c = 1\n        while $c < n:\n            $w\n            $c *= 2",
    "def f(n):\n    for $i in range(n):\n        $c = n\n        while $c > 1:\n            $w\n            $c //= 2",
    "def f(n):\n    if n > 1:\n        f(n // 2)\n        f(n // 2)\n        for $i in range(n):\n            $w",
    "def f(n):\n    for $i in range(n):\n        for $j in range(n):\n            $w",
    "def f(n):\n    for $i in range(n):\n        for $j in range($i):\n            $w",
    "def f(n):\n    for $i in range(n):\n        for $j in range($k * n):\n            $w",
    "def f(n):\n    for $i in range(n * n):\n        $w",
    "def f(n):\n    if n > 0:\n        for $i in range(n):\n            $w\n        f(n - 1)",
    "def f(n):\n    for $i in range(n):\n        for $j in range(n):\n"
    "            for $c in range(n):\n                $w",
    "def f(n):\n    for $i in range(n):\n        for $j in range(n * n):\n            $w",
    "def f(n):\n    if n > 0:\n        f(n - 1)\n        f(n - 1)\n        $w",
)
WORK = ("pass", "x = 1", "x = $k", "x = $k * $k", "x = $k + 1", "y = $k - 1", "y = x = 0", "z = [$k]", "z = ($k, 0)")


@functools.cache
def _steps(code: str, n: int) -> int:
    """How often a line of f runs, counted by a `count()` before every line that is not a header."""
    scope: dict[str, object] = {}
    counted = []
    for line in code.splitlines():
        pad = line[: len(line) - len(line.lstrip())]
        if pad and not line.lstrip().startswith(("else", "elif")):
            counted.append(f"{pad}count[0] += 1")
        counted.append(line)
    tally = [0]
    scope["count"] = tally
    exec("\n".join(counted) + f"\nf({n})", scope)
    return tally[0]


def measured_class(code: str, sizes: tuple[int, ...]) -> str:
    """The class whose growth from each size to the next is closest to the growth that was counted."""
    counts = [_steps(code, n) for n in sizes]

    def distance(grow: Callable[[int], float]) -> float:
        expected = [grow(n) for n in sizes]
        return sum(
            abs(math.log(counts[i + 1] / counts[i]) - math.log(expected[i + 1] / expected[i]))
            for i in range(len(sizes) - 1)
        )

    return min(CLASSES, key=lambda name: distance(CLASSES[name]))


@functools.cache
def class_of(shape: str) -> str:
    """The measured class of a shape; an exponential one is recognised at small n, where it can still be run."""
    code = Template(shape).substitute(k=3, i="i", j="j", c="c", w="pass")
    return measured_class(code, SMALL if shape.count("f(n - 1)") > 1 else SIZES)


def complexity(rng: random.Random) -> Draft:
    shape = rng.choice(SHAPES)
    i, j, c = rng.sample(("i", "j", "k", "m", "p", "q", "s", "t"), 3)
    k = rng.randint(2, 99) if "for" in shape else rng.randint(2, 9)
    work = Template(rng.choice(WORK)).substitute(k=rng.randint(2, 99))
    code = Template(shape).substitute(k=k, i=i, j=j, c=c, w=work)
    others = [name for name in CLASSES if name != class_of(shape)]
    rng.shuffle(others)
    return Draft(STEM, class_of(shape), tuple(others), code)


FAMILIES = (Family("complexity", "complexity", complexity),)
